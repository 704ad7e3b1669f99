#!/usr/bin/env python3
"""What other programs take for the work that Benchmarks/run_models times; one figure a call, as JSON.

    peers.py llama.cpp FILE.gguf IDS THREADS       prefill of the ids, then decoding as many tokens as are asked for
    peers.py transformers FOLDER IDS THREADS       the same by transformers, float32
    peers.py perplexity FOLDER TEXT THREADS        windows of 256 tokens, each from position 0, 8 at a time
    peers.py tokenizer_json IN.gguf OUT.json       transformers' conversion of the tokenizer in a GGUF file
    peers.py tokenizers TOKENIZER.json TEXT        one long string and lines in batches, on one thread

Needs llama-cpp-python, torch, transformers, tokenizers, gguf: each mode imports only its own.
"""

import argparse
import json
import math
import sys
import time


def llama(arguments):
    import llama_cpp
    import numpy

    ids = arguments.ids
    length = len(ids) + arguments.decode + 1
    start = time.perf_counter()
    model = llama_cpp.Llama(
        arguments.model, n_ctx=length, n_batch=512, n_ubatch=512, n_threads=arguments.threads,
        n_threads_batch=arguments.threads, n_gpu_layers=0, verbose=False)
    loaded = time.perf_counter()
    context, vocabulary = model.ctx, model.n_vocab()

    def run(tokens):
        array = (llama_cpp.llama_token * len(tokens))(*tokens)
        code = llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(tokens)))
        if code != 0:
            sys.exit(f"llama_decode: {code}")
        logits = numpy.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, -1), shape=(vocabulary,))
        return int(logits.argmax())

    run(ids[:8])  # the first pass touches what was only mapped
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    return timed(run, ids, arguments.decode, loaded - start)


def timed(run, ids, count, load):
    start = time.perf_counter()
    token = run(ids)
    prefilled = time.perf_counter()
    produced = [token]
    for _ in range(count):
        token = run([token])
        produced.append(token)
    end = time.perf_counter()
    return {
        "load_seconds": load, "prefill_tokens_per_second": len(ids) / (prefilled - start),
        "decode_tokens_per_second": count / (end - prefilled) if count else None, "tokens": produced}


def transformers(arguments):
    import torch
    import transformers as library

    torch.set_num_threads(arguments.threads)
    start = time.perf_counter()
    model = load(library, torch, arguments.model)
    loaded = time.perf_counter()
    cache = library.DynamicCache()

    @torch.inference_mode()
    def run(tokens):
        output = model(input_ids=torch.tensor([tokens]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        return int(output.logits[0, -1].argmax())

    with torch.inference_mode():
        model(input_ids=torch.tensor([arguments.ids[:8]]), use_cache=False)
    return timed(run, arguments.ids, arguments.decode, loaded - start)


def load(library, torch, path):
    if path.endswith(".gguf"):
        folder, _, name = path.rpartition("/")
        return library.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    return library.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def perplexity(arguments):
    began = time.perf_counter()
    import torch
    import transformers as library

    torch.set_num_threads(arguments.threads)
    model = load(library, torch, arguments.model)
    tokenizer = library.AutoTokenizer.from_pretrained(arguments.model)
    start = time.perf_counter()
    with open(arguments.text, encoding="utf-8") as file:
        ids = tokenizer(file.read(), add_special_tokens=False, verbose=False)["input_ids"]
    window = 256
    windows = torch.tensor(ids[: len(ids) // window * window]).view(-1, window)
    total = 0.0
    with torch.inference_mode():
        for batch in windows.split(8):
            logits = model(input_ids=batch).logits[:, :-1].float()
            loss = torch.nn.functional.cross_entropy(
                logits.reshape(-1, logits.shape[-1]), batch[:, 1:].reshape(-1), reduction="none")
            total += float(loss.double().sum())
    count = windows.shape[0] * (window - 1)
    seconds = time.perf_counter() - start
    return {"perplexity": math.exp(total / count), "scored": count, "seconds": seconds, "start_seconds": start - began}


def tokenizer_json(arguments):
    import transformers as library

    folder, _, name = arguments.model.rpartition("/")
    tokenizer = library.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    tokenizer.backend_tokenizer.save(arguments.output)
    return {}


def tokenizers(arguments):
    import os

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(arguments.model)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    with open(arguments.text, encoding="utf-8") as file:
        text = file.read()
    size = len(text.encode())
    start = time.perf_counter()
    count = len(tokenizer.encode(text).ids)
    whole = time.perf_counter()
    tokenizer.encode_batch_fast(text.splitlines(keepends=True))
    end = time.perf_counter()
    return {"whole_mb_per_second": size / 1e6 / (whole - start), "lines_mb_per_second": size / 1e6 / (end - whole),
            "tokens": count}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    modes = parser.add_subparsers(required=True)

    def mode(name, body, *positional):
        sub = modes.add_parser(name)
        for argument in positional:
            sub.add_argument(argument)
        sub.set_defaults(body=body)
        return sub

    for name, body in (("llama.cpp", llama), ("transformers", transformers)):
        sub = mode(name, body, "model")
        sub.add_argument("ids", type=json.loads)
        sub.add_argument("threads", type=int)
        sub.add_argument("--decode", type=int, default=128)
    mode("perplexity", perplexity, "model", "text").add_argument("threads", type=int)
    mode("tokenizer_json", tokenizer_json, "model", "output")
    mode("tokenizers", tokenizers, "model", "text")
    return parser.parse_args()


if __name__ == "__main__":
    given = parse()
    print(json.dumps(given.body(given)))
