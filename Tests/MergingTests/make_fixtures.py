"""Expected results of pcb and opcm, in numpy float64 straight from their formulas, on whole arrays.

Run: python3 make_fixtures.py    (needs numpy; writes Fixtures/merges.safetensors)

A case NAME has `NAME.0` (the base), `NAME.1`, ... (the fine-tunes) and `NAME.expected`; its parameters are in its
metadata entry, as JSON. Inputs are float32, so are differences to the base in pcb, where scores are ranked as float32.
"""

import json
import pathlib
import struct

import numpy as np


def pcb(base, tuned, density, weight, lam):
    n, size = len(tuned), base.size
    deltas = [(x - base).reshape(-1).astype(np.float64) for x in tuned]
    total = np.sum(deltas, axis=0)
    top = np.zeros(size)
    bottom = np.zeros(size)
    for d, r, w in zip(deltas, density, weight):
        ordered = np.sort(np.abs(d))
        outliers = int(size * 0.0001)
        low, high = ordered[outliers], ordered[size - 1 - outliers]
        clamped = np.clip(np.abs(d), low, high)
        place = (clamped - low) / (high - low)
        score = (np.exp(n * (place**2 - 1)) * np.tanh(d * total)).astype(np.float32).astype(np.float64)
        threshold = np.sort(score)[int(size * (1 - r))]
        share = (np.maximum(score, threshold) - threshold) / (score.max() - threshold)
        top += w * share * np.sign(d) * clamped
        bottom += share
    return base.astype(np.float64) + lam * (top / np.maximum(bottom, 1e-12)).reshape(base.shape)


def opcm(base, tuned, alpha, project, lam):
    """The authors' recursion, with the scaling in every step."""
    deltas = [x.astype(np.float64) - base for x in tuned]
    merged, norms, previous = deltas[0], [np.linalg.norm(deltas[0])], 1.0
    for delta in deltas[1:]:
        norms.append(np.linalg.norm(delta))
        cleaned = delta
        if project and base.ndim == 2:
            u, s, vt = np.linalg.svd(merged)
            split = int(np.argmax(np.cumsum(s) / s.sum() > alpha))
            inner = u.T @ delta @ vt.T
            np.fill_diagonal(inner, 0)
            inner[:split, :split] = 0
            cleaned = u @ inner @ vt
        grown = previous * merged + cleaned
        current = np.linalg.norm(grown) / np.mean(norms)
        merged, previous = grown / current, current
    return base + lam * merged


def main():
    random = np.random.default_rng(20241003)
    tensors, metadata = {}, {}

    def models(shape, count, scale=0.05):
        base = random.standard_normal(shape).astype(np.float32)
        return base, [(base + scale * random.standard_normal(shape)).astype(np.float32) for _ in range(count)]

    def add(name, base, tuned, expected, **parameters):
        tensors[name + ".0"] = base
        for index, x in enumerate(tuned):
            tensors[f"{name}.{index + 1}"] = x
        tensors[name + ".expected"] = expected.astype(np.float32)
        metadata[name] = json.dumps(parameters)

    for name, shape, count, density, lam in [
        ("pcb_matrix", (23, 31), 3, [0.3, 0.3, 0.3], 1.0),
        ("pcb_weighted", (7, 5, 9), 2, [0.6, 0.2], 1.2),
        ("pcb_clamped", (10600,), 2, [0.1, 0.1], 1.0),
        ("pcb_dense", (2,), 2, [1.0, 1.0], 0.5),
    ]:
        base, tuned = models(shape, count, scale=0.5)
        weight = [1.0] * count if name != "pcb_weighted" else [1.3, -0.4]
        add(name, base, tuned, pcb(base, tuned, density, weight, lam), density=density, weight=weight, **{"lambda": lam})

    for name, shape, count, alpha, project, lam in [
        ("opcm_square", (24, 24), 4, 0.5, True, 1.0),
        ("opcm_tall", (41, 17), 3, 0.8, True, 1.0),
        ("opcm_wide", (17, 41), 3, 0.2, True, 0.7),
        ("opcm_large", (67, 129), 3, 0.5, True, 1.0),
        ("opcm_open", (12, 9), 2, 0.0, True, 1.0),
        ("opcm_added", (13, 11), 3, 0.5, False, 1.0),
        ("opcm_vector", (45,), 3, 0.5, True, 1.0),
    ]:
        base, tuned = models(shape, count)
        add(name, base, tuned, opcm(base, tuned, alpha, project, lam), alpha=alpha, project=project, **{"lambda": lam})

    header, offset, body = {"__metadata__": metadata}, 0, b""
    for name in sorted(tensors):
        data = np.ascontiguousarray(tensors[name]).tobytes()
        header[name] = {"dtype": "F32", "shape": tensors[name].shape, "data_offsets": [offset, offset + len(data)]}
        offset, body = offset + len(data), body + data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = pathlib.Path(__file__).parent / "Fixtures" / "merges.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


main()
