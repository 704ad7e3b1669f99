#!/usr/bin/env python3
"""Writes gguf/*.json: vocabularies of GGUF files with what llama.cpp makes of texts by them.

    make_gguf.py GOLDENS             the files kept with the tests, from our own models and tokenizers under GOLDENS
    make_gguf.py GOLDENS --vendors DIR   vocabularies of vendors, written to DIR for tests by hand

Needs gguf, tokenizers and llama_cpp (llama.cpp of llama-cpp-python 0.3.36). "plain": add_special and parse_special
off; "special": both on; "text" and "specialText": llama_detokenize of them, special tokens written out.
"""
import base64
import ctypes
import json
import lzma
import os
import random
import sys
import tempfile

import gguf
import llama_cpp
from gguf import GGUFReader, GGUFValueType, GGUFWriter

MAP = "tokenizer.ggml.precompiled_charsmap"
PREFIXES = ("tokenizer.", "general.name", "general.architecture")
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gguf")


def value(field):
    if field.types[0] == GGUFValueType.ARRAY:
        if field.types[1] == GGUFValueType.STRING:
            return [bytes(field.parts[i]).decode("utf-8", "surrogateescape") for i in field.data]
        return [field.parts[i][0].item() for i in field.data]
    if field.types[0] == GGUFValueType.STRING:
        return bytes(field.parts[field.data[0]]).decode()
    return field.parts[field.data[0]][0].item()


def dump(path):
    keys = {k: value(f) for k, f in GGUFReader(path).fields.items() if k.startswith(PREFIXES)}
    if MAP in keys:
        keys[MAP] = base64.b64encode(bytes(b & 255 for b in keys[MAP])).decode()
    return keys


class Peer:
    def __init__(self, path):
        params = llama_cpp.llama_model_default_params()
        params.vocab_only = True
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), params)
        assert self.model, path
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)

    def tokenize(self, text, special):
        data = text.encode()
        room = len(data) + 8
        ids = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(self.vocab, data, len(data), ids, room, special, special)
        assert count >= 0
        return list(ids[:count])

    def detokenize(self, ids):
        room = 64 * len(ids) + 64
        out = ctypes.create_string_buffer(room)
        array = (llama_cpp.llama_token * max(len(ids), 1))(*ids)
        count = llama_cpp.llama_detokenize(self.vocab, array, len(ids), out, room, False, True)
        assert count >= 0
        return out.raw[:count].decode("utf-8", "replace")


def cases(path, texts, plain_only=False):
    peer = Peer(path)
    result = []
    for text in texts:
        plain = peer.tokenize(text, False)
        if plain_only:
            result.append(plain)
            continue
        special = peer.tokenize(text, True)
        result.append({"string": text, "plain": plain, "special": special, "text": peer.detokenize(plain),
                       "specialText": peer.detokenize(special)})
    return result


def write(name, content, folder=HERE):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name + ".json"), "w") as file:
        json.dump(content, file, ensure_ascii=True, separators=(",", ":"))
        file.write("\n")


TEXTS = [
    "", " ", "  ", "   ", "\n", "\t", "\n\n\n", " \n \n", "Hello world", " Hello  world ", "Hello, World!  It's fine.",
    "I'LL we'Ve he'd they're 'S 's", "don't  ' x ' y 's 'm 're , . ! ?", "x = 12345;\n\n\tif (a  <  b) {  }",
    "1 12 123 1234 12345 1234567890", "3.14 1,000,000 ½ ² ٣٤ Ⅻ", "foo_bar.baz->qux::quux @decorator #tag $x ^y ~z |w `v`",
    "Grüße aus 東京 und 서울 😀👍🏽", "naïve café Ångström ﬁn ǅ", "ПРИВЕТ Мир Ελλάδα ΑΣ", "مرحبا، بالعالم", "हिन्दी में।",
    "中文，标点。「引号」、顿号", "かな カナ ｶﾅ", "a\u0301 e\u0308", "\u00a0nbsp\u2003em\u3000wide", "tab\tnl\r\ncr\rend",
    "\u200bzero\u200dwidth\ufeff", "<s></s><unk>", "<|endoftext|> <|im_start|>user", "camelCaseWORDMixed ABCdef GHI",
    "\x01\x7f\u0085", "…“quoted”—dash", "ㄱㄴㄷ ㄅㄆ 𠀀𪜶", "trailing   ", "\ue000\u0378", "🇩🇪 👩‍👩‍👧", "!!!???...,,,", "(a)[b]{c}",
    "line one\nline two\n\n  indented\n", "ſ ’s 'ſa K İ ß",
]


def random_texts(count, seed):
    random.seed(seed)
    alphabet = [" ", "  ", "\n", "\r\n", "\t", "a", "B", "the", "ing", "é", "ß", "中", "の", "가", "😀", "1", "23", "456", ".", ",",
                "!", "'", "'s", "-", "_", "(", ")", "$", "\u0301", "\u00a0", "\u3000", "Ж", "ж", "ع", "ก", "<s>", "</s>", "½",
                "\u200b", "~", "▁", "🏽"]
    return ["".join(random.choices(alphabet, k=random.randint(1, 14))) for _ in range(count)]


PRE_NAMES = """default llama-bpe deepseek-llm deepseek-coder deepseek-v3 falcon starcoder gpt-2 refact command-r qwen2
stablelm2 olmo dbrx smaug-bpe poro-chat chatglm-bpe glm4 viking jais tekken smollm codeshell bloom gpt3-finnish exaone
exaone4 exaone-moe chameleon minerva-7b megrez gpt-4o trillion bailingmoe seed-coder hunyuan hunyuan-dense youtu
qwen35 minicpm5 jais-2 granite-embed-multi-97m spark2_5 grok-2 laguna minimax-m2 ufakzeka mpt""".split()


def writer(path, model, tokens, scores=None, types=None, merges=None, **keys):
    out = GGUFWriter(path, "llama")
    out.add_tokenizer_model(model)
    out.add_token_list(tokens)
    if scores is not None:
        out.add_token_scores(scores)
    if types is not None:
        out.add_token_types(types)
    if merges is not None:
        out.add_token_merges(merges)
    for key, item in keys.items():
        key = "tokenizer.ggml." + key
        if isinstance(item, bool):
            out.add_bool(key, item)
        elif isinstance(item, int):
            out.add_uint32(key, item)
        elif isinstance(item, bytes):
            out.add_array(key, item)
        else:
            out.add_string(key, item)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.close()


def pre_tokenizers(folder):
    """A byte-pair vocabulary whose merges cross all boundaries, under every name of a pre-tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=1200, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  special_tokens=["<|endoftext|>"], show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 3 + random_texts(400, 7), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = [t for t, _ in sorted(model["vocab"].items(), key=lambda x: x[1])]
    merges = [" ".join(m) for m in model["merges"]]
    texts = TEXTS + random_texts(24, 11)
    expected = {}
    path = os.path.join(folder, "pre.gguf")
    for name in PRE_NAMES:
        writer(path, "gpt2", tokens, merges=merges, types=[3] + [1] * (len(tokens) - 1), pre=name, bos_token_id=0,
               eos_token_id=0)
        expected[name] = cases(path, texts, plain_only=True)
    vocabulary = dump(path)
    del vocabulary["tokenizer.ggml.pre"]
    write("pre-tokenizers", {"vocabulary": vocabulary, "texts": texts, "expected": expected})


def unigram(goldens, folder):
    source = json.load(open(goldens + "/tokenizers/hf/unigram_t5_precompiled/tokenizer.json"))
    pieces = source["model"]["vocab"]
    steps = source["normalizer"].get("normalizers", [source["normalizer"]])
    charsmap = next(base64.b64decode(s["precompiled_charsmap"]) for s in steps if s["type"] == "Precompiled")
    types = [1] * len(pieces)
    for token in source["added_tokens"]:
        if token["id"] < len(types):
            types[token["id"]] = 3 if token["special"] else 4
    names = [p for p, _ in pieces]
    types[source["model"]["unk_id"]] = 2
    types[names.index("▁a") if "▁a" in names else 20] = 5
    for name, flags in [("unigram", dict(add_space_prefix=True, remove_extra_whitespaces=True,
                                         precompiled_charsmap=charsmap)),
                        ("unigram-plain", dict(add_space_prefix=False, remove_extra_whitespaces=False))]:
        path = os.path.join(folder, name + ".gguf")
        writer(path, "t5", names, scores=[s for _, s in pieces], types=types,
               unknown_token_id=source["model"]["unk_id"], eos_token_id=names.index("</s>"), **flags)
        write(name, {"vocabulary": dump(path), "cases": cases(path, TEXTS + random_texts(24, 5))})


def wordpiece(goldens, folder):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(TEXTS * 3 + random_texts(100, 3),
                                  trainers.WordPieceTrainer(vocab_size=500, special_tokens=specials, show_progress=False))
    vocab = [t for t, _ in sorted(tokenizer.get_vocab().items(), key=lambda x: x[1])]
    tokens = [t if t in specials else t[2:] if t.startswith("##") else "▁" + t for t in vocab]
    types = [3 if t in specials else 1 for t in vocab]
    for name, flags in [("wordpiece", {}), ("wordpiece-cased", {"normalizer.lowercase": False})]:
        path = os.path.join(folder, name + ".gguf")
        writer(path, "bert", tokens, types=types, bos_token_id=2, seperator_token_id=3, unknown_token_id=1,
               padding_token_id=0, mask_token_id=4, **flags)
        write(name, {"vocabulary": dump(path), "cases": cases(path, TEXTS + random_texts(40, 9) + ["[CLS] a [MASK] b"])})


def line_breaks(folder):
    """A byte-pair vocabulary of text rather than bytes, in which line breaks are tokens without merges."""
    from tokenizers import Tokenizer, models, normalizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<turn|>"] + ["<0x%02X>" % i for i in range(256)]
    lines = [line for text in TEXTS * 3 + random_texts(300, 4) for line in text.split("\n") if line]
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=900, special_tokens=specials,
                                                             show_progress=False, limit_alphabet=120))
    model = json.loads(tokenizer.to_str())["model"]
    tokens = [t for t, _ in sorted(model["vocab"].items(), key=lambda x: x[1])] + ["\n", "\n\n", "\n\n\n"]
    types = [3] * 5 + [6] * 256 + [1] * (len(tokens) - 261)
    path = os.path.join(folder, "line-breaks.gguf")
    writer(path, "gemma4", tokens, merges=[" ".join(m) for m in model["merges"]], types=types, bos_token_id=2,
           eos_token_id=1, unknown_token_id=3, padding_token_id=0)
    write("line-breaks", {"vocabulary": dump(path), "cases": cases(path, TEXTS + random_texts(40, 6))})


def main():
    goldens = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        if "--vendors" in sys.argv:
            target = sys.argv[sys.argv.index("--vendors") + 1]
            vocabularies = goldens + "/tokenizers/ggml_vocab"
            for file in sorted(os.listdir(vocabularies)):
                if file.endswith(".gguf.xz"):
                    name = file[len("ggml-vocab-"):-len(".gguf.xz")]
                    path = os.path.join(folder, name + ".gguf")
                    with open(path, "wb") as out:
                        out.write(lzma.open(os.path.join(vocabularies, file)).read())
                    write(name, {"vocabulary": dump(path), "cases": cases(path, TEXTS + random_texts(300, 1))}, target)
            return
        for name, file in [("llama_spm", "llama_spm-Q4_0"), ("gemma2_spm", "gemma2_spm-Q4_0"),
                           ("llama3_rope_spm", "llama3_rope_spm-Q8_0"), ("gpt2_bpe", "gpt2_bpe-Q4_0"),
                           ("qwen2_bpe", "qwen2_bpe-Q4_1")]:
            path = f"{goldens}/gguf/models/{name}/{file}.gguf"
            golden = json.load(open(f"{goldens}/gguf/models/{name}/tokenize.json"))["cases"]
            made = cases(path, [c["text"] for c in golden] + TEXTS + random_texts(40, 2))
            for ours, theirs in zip(made, golden):
                assert (ours["plain"], ours["special"]) == (theirs["plain"], theirs["special"])
            write(name, {"vocabulary": dump(path), "cases": made})
        pre_tokenizers(folder)
        line_breaks(folder)
        unigram(goldens, folder)
        wordpiece(goldens, folder)


main()
