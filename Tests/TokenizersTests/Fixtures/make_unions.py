#!/usr/bin/env python3
"""Makes unions.json: small models with different vocabularies, and what mergekit 0.1.5 makes of their embeddings.

    make_unions.py MERGEKIT_YAML OUTPUT     (needs mergekit, transformers, tokenizers, torch, safetensors)

Embeddings hold small integers and the weights of a merge are powers of two, so that a merged row tells each model's
row in it, exactly.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import torch
import yaml
from safetensors.torch import load_file
from tokenizers import AddedToken, Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WIDTH = 4
# Ordinary tokens in the order of their ids, then added ones; rows of the embedding beyond them.
VOCABULARIES = {
    "one": (["a", "b", "c", "ab", "é"], ["<s>", "</s>"], 0),
    "two": (["b", "a", "c", "ab", "ac", "é"], ["<s>", "</s>", "<|im_start|>"], 3),
    "three": (["c", "b", "a", "bc", "ac"], ["<s>", "<|im_start|>", "<|im_end|>"], 0),
}
CASES = {
    "union with a base": {
        "method": "task_arithmetic", "base": "one", "models": ["one", "two", "three"], "tokenizer": {"source": "union"}},
    "union without a base": {
        "method": "linear", "base": None, "models": ["one", "two", "three"], "tokenizer": {"source": "union"}},
    "base": {
        "method": "task_arithmetic", "base": "two", "models": ["one", "two", "three"], "tokenizer": {"source": "base"}},
    "a model's": {"method": "linear", "base": None, "models": ["one", "three"], "tokenizer": {"source": "three"}},
    "padding": {
        "method": "linear", "base": None, "models": ["one", "three"],
        "tokenizer": {"source": "union", "pad_to_multiple_of": 8}},
    "rules": {
        "method": "linear", "base": None, "models": ["one", "two", "three"],
        "tokenizer": {
            "source": "two",
            "tokens": {
                "<|im_start|>": {"source": "three"},
                "é": {"source": {"kind": "zero"}},
                "a": {"source": "two", "force": True},
                "b": {"source": {"kind": "model_token", "model": "three", "token": "bc"}, "force": True},
                "<new>": {"source": {"kind": "model_token", "model": "one", "token_id": 3}},
            },
        }},
}


def make_model(folder, name, index):
    ordinary, added, extra = VOCABULARIES[name]
    merges = [(token[0], token[1]) for token in ordinary if len(token) == 2]
    tokenizer = Tokenizer(models.BPE(vocab={token: id for id, token in enumerate(ordinary)}, merges=merges))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in added])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>").save_pretrained(folder)
    rows = len(ordinary) + len(added) + extra
    config = LlamaConfig(
        vocab_size=rows, hidden_size=WIDTH, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, bos_token_id=0, eos_token_id=0)
    model = LlamaForCausalLM(config)
    values = torch.randint(-8, 9, (rows, WIDTH), generator=torch.Generator().manual_seed(index)).float()
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(values)
    model.save_pretrained(folder)
    files = {file: (folder / file).read_text() for file in ("tokenizer.json", "tokenizer_config.json")}
    return {"name": name, "files": files, "embedding": values.tolist()}


def resolve(value, root):
    """The recipe with model names replaced by their folders."""
    if isinstance(value, dict):
        return {key: resolve(item, root) for key, item in value.items()}
    return str(root / value) if value in VOCABULARIES else value


def run_case(case, root, mergekit):
    weights = {name: 2.0**index for index, name in enumerate(case["models"])}
    recipe = {
        "merge_method": case["method"], "dtype": "float32", "tokenizer": resolve(case["tokenizer"], root),
        "models": [
            {"model": str(root / name), "parameters": {"weight": weights[name]}}
            for name in case["models"] if name != case["base"]],
        "parameters": {"normalize": False},
    }
    if case["base"]:
        recipe["base_model"] = str(root / case["base"])
    file, out = root / "recipe.yml", root / "out"
    file.write_text(yaml.safe_dump(recipe))
    subprocess.run(["rm", "-rf", out], check=True)
    # Which model counts as the first depends on Python's hashes.
    subprocess.run(
        [mergekit, file, out, "--no-write-model-card"], check=True, env={**os.environ, "PYTHONHASHSEED": "0"})
    vocabulary = Tokenizer.from_file(str(out / "tokenizer.json")).get_vocab()
    rows = load_file(out / "model.safetensors")["model.embed_tokens.weight"].tolist()
    return {**case, "weights": weights, "vocabulary": vocabulary, "embedding": rows}


def main():
    mergekit, output = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        made = []
        for index, name in enumerate(VOCABULARIES):
            (root / name).mkdir()
            made.append(make_model(root / name, name, index))
        cases = [{"case": name, **run_case(case, root, mergekit)} for name, case in CASES.items()]
    text = json.dumps({"models": made, "cases": cases}, ensure_ascii=False, separators=(",", ":"))
    pathlib.Path(output).write_text(text + "\n")


if __name__ == "__main__":
    main()
