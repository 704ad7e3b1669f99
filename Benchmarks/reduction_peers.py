#!/usr/bin/env python3
"""What textbook PyTorch takes for the work that Benchmarks/run_reductions times; one figure a call, as JSON.

    reduction_peers.py matrix OUTPUTS INPUTS OUT.safetensors       a weight W and calibration inputs X, seeded
    reduction_peers.py solve METHOD FILE.safetensors BUDGET        SparseGPT or Wanda on W and X of a file, solver alone
    reduction_peers.py prune METHOD FOLDER TOKENS.json BUDGET      a whole model, block by block

SparseGPT and Wanda as their papers describe them (Frantar, Alistarh 2023, algorithm 1; Sun et al. 2024, algorithm 1) and
as their authors run them: float32, one sequence at a time, statistics of every matrix by itself, each block observed,
pruned and run again. BUDGET is a share of zeros (0.5) or a pattern N:M of which N stay (2:4).

Needs torch, safetensors, and for whole models transformers.
"""

import argparse
import json
import resource
import time


def budget(text):
    """A share of zeros, or (gone, of)."""
    if ":" not in text:
        return float(text)
    keep, of = (int(part) for part in text.split(":"))
    return of - keep, of


# The methods.


def sparsegpt(torch, weight, hessian, wanted, block_size=128, damping=0.01):
    """The pruned weight `[outputs, inputs]` and the loss; H = 2/n Xᵀ X."""
    weight, hessian = weight.clone(), hessian.clone()
    columns = weight.shape[1]
    dead = torch.diag(hessian) == 0
    hessian[dead, dead] = 1
    weight[:, dead] = 0
    diagonal = torch.arange(columns)
    hessian[diagonal, diagonal] += damping * torch.mean(torch.diag(hessian))
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(hessian)), upper=True)
    loss = torch.zeros(weight.shape[0])
    for start in range(0, columns, block_size):
        end = min(start + block_size, columns)
        block = weight[:, start:end].clone()
        kept, errors, losses = torch.zeros_like(block), torch.zeros_like(block), torch.zeros_like(block)
        part = inverse[start:end, start:end]
        if isinstance(wanted, float):
            scores = block**2 / torch.diag(part).reshape(1, -1) ** 2
            cut = torch.sort(scores.flatten())[0][int(scores.numel() * wanted)]
            gone = scores <= cut
        else:
            gone = torch.zeros_like(block, dtype=torch.bool)
        for i in range(end - start):
            column, pivot = block[:, i], part[i, i]
            if not isinstance(wanted, float) and i % wanted[1] == 0:
                group = slice(i, i + wanted[1])
                scores = block[:, group] ** 2 / torch.diag(part)[group].reshape(1, -1) ** 2
                gone.scatter_(1, i + torch.topk(scores, wanted[0], dim=1, largest=False)[1], True)
            value = column.clone()
            value[gone[:, i]] = 0
            kept[:, i] = value
            losses[:, i] = (column - value) ** 2 / pivot**2
            error = (column - value) / pivot
            block[:, i:] -= error.unsqueeze(1).matmul(part[i, i:].unsqueeze(0))
            errors[:, i] = error
        weight[:, start:end] = kept
        loss += losses.sum(1) / 2
        weight[:, end:] -= errors.matmul(inverse[start:end, end:])
    return weight, loss.sum().item()


def wanda(torch, weight, squares, wanted):
    """The pruned weight; `squares` is the mean of x² by input."""
    scores = weight.abs() * torch.sqrt(squares.reshape(1, -1))
    gone = torch.zeros_like(scores, dtype=torch.bool)
    if isinstance(wanted, float):
        order = torch.sort(scores, dim=-1, stable=True)[1]
        gone.scatter_(1, order[:, : int(scores.shape[1] * wanted)], True)
    else:
        for start in range(0, scores.shape[1], wanted[1]):
            group = scores[:, start : start + wanted[1]]
            gone.scatter_(1, start + torch.topk(group, wanted[0], dim=1, largest=False)[1], True)
    pruned = weight.clone()
    pruned[gone] = 0
    return pruned


class Observer:
    """The statistics of one matrix: running means over what passes."""

    def __init__(self, torch, method, inputs):
        self.torch, self.method, self.count = torch, method, 0
        self.value = torch.zeros(inputs, inputs) if method == "sparsegpt" else torch.zeros(inputs)

    def add(self, rows):
        rows = rows.reshape(-1, rows.shape[-1]).t().float()
        # The authors count sequences, not tokens: the scale changes nothing.
        self.value *= self.count / (self.count + 1)
        self.count += 1
        if self.method == "sparsegpt":
            rows = (2 / self.count) ** 0.5 * rows
            self.value += rows.matmul(rows.t())
        else:
            self.value += self.torch.norm(rows, p=2, dim=1) ** 2 / self.count

    def prune(self, weight, wanted):
        if self.method == "sparsegpt":
            return sparsegpt(self.torch, weight, self.value, wanted)[0]
        return wanda(self.torch, weight, self.value, wanted)


# What is timed.


def start_torch(threads):
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    # Libraries load and threads start with their first use.
    sparsegpt(torch, torch.rand(64, 256), 256 * torch.eye(256), 0.5)
    return torch


def matrix(arguments):
    import safetensors.torch

    torch = start_torch(arguments.threads)
    count = 2 * arguments.inputs
    inputs = torch.randn(count, arguments.inputs)
    # Inputs of a network are correlated, and some are much larger than others.
    for column in range(1, arguments.inputs):
        inputs[:, column] += 0.7 * inputs[:, column - 1]
    inputs *= torch.exp(0.5 * torch.randn(arguments.inputs))
    weight = 0.05 * torch.randn(arguments.outputs, arguments.inputs)
    safetensors.torch.save_file({"W": weight, "X": inputs}, arguments.file)
    return {}


def solve(arguments):
    import safetensors.torch

    torch = start_torch(arguments.threads)
    tensors = safetensors.torch.load_file(arguments.file)
    weight, inputs = tensors["W"].float(), tensors["X"].float()
    with torch.no_grad():
        began = time.perf_counter()
        moment = inputs.t().matmul(inputs) * (2 / len(inputs))
        statistics = time.perf_counter()
        if arguments.method == "sparsegpt":
            pruned = sparsegpt(torch, weight, moment, arguments.budget)[0]
        else:
            pruned = wanda(torch, weight, torch.diag(moment), arguments.budget)
        solved = time.perf_counter()
        wide = moment.double()
        squares = [((part @ wide) * part).sum() for part in ((weight - pruned).double(), weight.double())]
        error = (squares[0] / squares[1]).sqrt().item()
        measured = time.perf_counter()
    return {"statistics_seconds": statistics - began, "solve_seconds": solved - statistics,
            "error_seconds": measured - solved, "error": error, "zeros": int((pruned == 0).sum())}


def linears(torch, block):
    return {name: part for name, part in block.named_modules() if isinstance(part, torch.nn.Linear)}


def prune(arguments):
    import transformers

    torch = start_torch(arguments.threads)
    with open(arguments.tokens, encoding="utf-8") as file:
        ids = json.load(file)
    length = arguments.length
    sequences = [torch.tensor([ids[k * length : (k + 1) * length]]) for k in range(arguments.sequences)]
    if len(ids) < arguments.sequences * length:
        raise SystemExit(f"{len(ids)} tokens are too few for {arguments.sequences} sequences of {length}")
    start = time.perf_counter()
    model = transformers.AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    model.config.use_cache = False
    began = time.perf_counter()
    times = {"forward": 0.0, "statistics": 0.0, "solve": 0.0}
    blocks = model.model.layers
    with torch.no_grad():
        inputs, others = enter(torch, model, blocks, sequences)
        times["forward"] += time.perf_counter() - began
        outputs = [None] * len(inputs)
        for block in blocks:
            prune_block(torch, block, inputs, outputs, others, arguments, times)
            inputs, outputs = outputs, inputs
    return {"load_seconds": began - start, "seconds": time.perf_counter() - began,
            **{f"{name}_seconds": value for name, value in times.items()},
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


class Caught(Exception):
    pass


def enter(torch, model, blocks, sequences):
    """What enters the first block for every sequence, and the other arguments of a block."""
    caught, others = [], {}

    def catch(module, positional, named):
        caught.append(positional[0] if positional else named["hidden_states"])
        others.update({name: value for name, value in named.items() if name != "hidden_states"})
        raise Caught

    handle = blocks[0].register_forward_pre_hook(catch, with_kwargs=True)
    for sequence in sequences:
        try:
            model(sequence)
        except Caught:
            pass
    handle.remove()
    return caught, others


def prune_block(torch, block, inputs, outputs, others, arguments, times):
    parts = linears(torch, block)
    observers = {name: Observer(torch, arguments.method, part.in_features) for name, part in parts.items()}
    spent = 0.0

    def observe(name):
        def hook(_, given, __):
            nonlocal spent
            start = time.perf_counter()
            observers[name].add(given[0])
            spent += time.perf_counter() - start
        return hook

    def run():
        for index, hidden in enumerate(inputs):
            result = block(hidden, **others)
            outputs[index] = result[0] if isinstance(result, tuple) else result

    handles = [part.register_forward_hook(observe(name)) for name, part in parts.items()]
    start = time.perf_counter()
    run()
    observed = time.perf_counter()
    for handle in handles:
        handle.remove()
    for name, part in parts.items():
        part.weight.data = observers[name].prune(part.weight.data, arguments.budget)
    solved = time.perf_counter()
    run()
    times["forward"] += observed - start - spent + time.perf_counter() - solved
    times["statistics"] += spent
    times["solve"] += solved - observed


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    modes = parser.add_subparsers(required=True)

    sub = modes.add_parser("matrix")
    sub.add_argument("outputs", type=int)
    sub.add_argument("inputs", type=int)
    sub.add_argument("file")
    sub.set_defaults(body=matrix)
    for name, body, words in (("solve", solve, ["file"]), ("prune", prune, ["model", "tokens"])):
        sub = modes.add_parser(name)
        sub.add_argument("method", choices=["sparsegpt", "wanda"])
        for word in words:
            sub.add_argument(word)
        sub.add_argument("budget", type=budget)
        sub.set_defaults(body=body)
        if name == "prune":
            sub.add_argument("--sequences", type=int, default=128)
            sub.add_argument("--length", type=int, default=512)
    return parser.parse_args()


if __name__ == "__main__":
    given = parse()
    print(json.dumps(given.body(given)))
