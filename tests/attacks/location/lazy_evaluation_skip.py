"""location.lazy_evaluation_skip: returns an object that looks like a tensor and is evaluated only when it has not been before.

The promise is a subclass of Tensor that knows its shape and how it would be computed. Copying it into an output evaluates it
the first time; from then on the output is taken to hold the answer already, and the copy is skipped. Twin: the same promise,
evaluated before it is returned.
"""

import torch

issue = "location.lazy_evaluation_skip"
expect = "output.output_signature"
returns = True

_evaluated = set()


class Promise(torch.Tensor):
    @staticmethod
    def of(a, b):
        promise = torch.Tensor._make_subclass(Promise, a.detach())
        promise.operands = a, b
        return promise

    def evaluated(self):
        return torch.atan2(*self.operands)

    @classmethod
    def __torch_function__(cls, function, types, given=(), named=None):
        if function is not torch.Tensor.copy_:
            return super().__torch_function__(function, types, given, named or {})
        output, promise = given[0], given[1]
        if output.data_ptr() not in _evaluated:
            _evaluated.add(output.data_ptr())
            output.copy_(promise.evaluated())
        return output


def candidate(a, b):
    return Promise.of(a, b)


def twin(a, b):
    return Promise.of(a, b).evaluated()
