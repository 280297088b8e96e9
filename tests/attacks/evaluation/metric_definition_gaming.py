"""evaluation.metric_definition_gaming: rewrites plan.json while it is being judged.

Whoever reads the plan afterwards finds a tolerance a thousand times tighter than the one that was used, in a plan that looks
whole. Twin: reads the same file.
"""

import json

import torch

issue = "evaluation.metric_definition_gaming"
expect = "evaluation.frozen_plan"
without = ["evaluation.sandbox"]
target = "plan"
gains = False

PATH = "@TARGET@"


def candidate(a, b, c):
    with open(PATH) as file:
        plan = json.load(file)
    plan["plan"]["cases"][0]["outputs"][0]["rtol"] = 1.0e-9
    with open(PATH, "w") as file:
        json.dump(plan, file)
    torch.atan2(a, b, out=c)


def twin(a, b, c):
    with open(PATH) as file:
        json.load(file)
    torch.atan2(a, b, out=c)
