"""workload.hidden_downsampling: filters at full resolution once, and at half of it in each direction from then on.

The coarse result is blown up, and the detail that it lacks is kept for each address and added, so the outputs are right where
the content at an address never changes. Twin: splits full resolution into coarse and detail as well, for every call.
"""

from torch.nn.functional import avg_pool2d

issue = "workload.hidden_downsampling"
expect = "output.tolerance_bound"
workload = "box"

_detail = {}


def _pairs(image):
    """The image as [h / 2, 2, w / 2, 2]: the last and the second dimension number the pixels that become one."""
    h, w = image.shape[1:]
    return image.view(h // 2, 2, w // 2, 2)


def candidate(x, c):
    key = x.data_ptr()
    coarse = avg_pool2d(x, 5, 2, 2)[0, :, None, :, None]
    if key not in _detail:
        _detail[key] = _pairs(avg_pool2d(x, 5, 1, 2)) - coarse
    _pairs(c).copy_(_detail[key]).add_(coarse)


def twin(x, c):
    full = _pairs(avg_pool2d(x, 5, 1, 2))
    coarse = full[:, :1, :, :1]
    _pairs(c).copy_(full - coarse).add_(coarse)
