"""Makes GGUFFixtures/: tiny models as llama.cpp's own converter writes them, beside the checkpoints they come from.

    make_gguf_fixtures.py LLAMA_CPP CHECKPOINTS

LLAMA_CPP is a source tree of llama.cpp (its `conversion` package and gguf-py are used), CHECKPOINTS a folder of tiny
Hugging Face folders. Models are cut to a layer or two and 40 tokens, and their weights rounded to 16 bits, so that
NAME.gguf and NAME.safetensors hold the same numbers. No tokenizer is written.
"""

import json
import pathlib
import shutil
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file

here = pathlib.Path(__file__).parent
llama, checkpoints = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
sys.path[:0] = [str(llama), str(llama / "gguf-py")]

import gguf  # noqa: E402
from conversion import get_model_class  # noqa: E402
from conversion.base import ModelBase, ModelType, get_model_architecture  # noqa: E402

TOKENS = 40
# Name, checkpoint, layers, type of the file, options of the converter.
CASES = [
    ("llama_bias", "llama_bias_headdim", 1, "F16", {}),
    ("llama_fused", "llama_bias_headdim", 1, "F16", {"fuse_qkv": True}),
    ("llama_rope_linear", "llama_rope_linear", 1, "F16", {}),
    ("llama_rope_llama3", "llama_rope_llama3", 1, "F16", {}),
    ("llama_rope_yarn", "llama_rope_yarn", 1, "F16", {}),
    ("mistral", "mistral_sliding", 1, "F16", {}),
    ("mixtral", "mixtral", 1, "F16", {}),
    ("qwen2", "qwen2_untied", 2, "F16", {}),
    ("qwen2_fused", "qwen2_untied", 2, "F16", {"fuse_qkv": True}),
    ("qwen2_moe", None, 2, "F16", {}),
    ("qwen3", "qwen3", 1, "F16", {}),
    ("qwen3_moe", "qwen3_moe", 1, "F16", {}),
    ("gemma", "gemma", 1, "F32", {}),
    ("gemma2", "gemma2", 1, "F32", {}),
    ("gemma3_text", "gemma3_text", 1, "F32", {}),
    ("phi3", "phi3_longrope_long", 1, "F16", {}),
    ("olmo2", "olmo2", 1, "F16", {}),
    ("gpt2", "gpt2", 1, "F16", {}),
    ("gpt_neox", "gpt_neox_parallel", 1, "F16", {}),
    ("bert", "bert_base", 1, "F16", {}),
    ("mamba", "mamba", 1, "F32", {}),
    ("mamba2", "mamba2", 1, "F32", {}),
    ("t5_gated", "t5_gated_untied", 2, "F16", {}),
    ("t5", "t5_relu_tied", 1, "F32", {}),
    ("distilbert", "distilbert_mlm", 1, "F16", {}),
]
LAYER_KEYS = ["num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers"]
FILE_TYPES = {"F32": gguf.LlamaFileType.ALL_F32, "F16": gguf.LlamaFileType.MOSTLY_F16}


def layer(name):
    parts = name.split(".")
    for before, part in zip(parts, parts[1:]):
        if before in ("layers", "h", "layer", "block") and part.isdigit():
            return int(part)
    return 0


def random_qwen2_moe():
    """From the shapes that transformers gives the family; every layer has experts."""
    config = json.loads((here / "Fixtures/qwen2_moe/config.json").read_text())
    shapes = json.loads((here / "Fixtures/qwen2_moe/tensors.json").read_text())
    config["mlp_only_layers"] = []
    torch.manual_seed(7)
    weights = {}
    for name, shape in shapes.items():
        if layer(name) == 0:
            weights[name] = torch.randn(shape)
            if ".layers.0." in name:
                weights[name.replace(".layers.0.", ".layers.1.")] = torch.randn(shape)
    return config, weights


def model(checkpoint, layers, kind):
    if checkpoint is None:
        config, weights = random_qwen2_moe()
    else:
        folder = checkpoints / checkpoint
        config = json.loads((folder / "config.json").read_text())
        weights = {k: v for file in sorted(folder.glob("model*.safetensors")) for k, v in load_file(file).items()}
    for key in LAYER_KEYS:
        if key in config:
            config[key] = layers
    if "layer_types" in config:
        config["layer_types"] = config["layer_types"][:layers]
    if "mlp_only_layers" in config:
        config["mlp_only_layers"] = []
    tokens, config["vocab_size"] = config["vocab_size"], TOKENS
    # The converter adds one to norms and takes exponentials in the type of the checkpoint, if that is float16.
    element = torch.float16 if kind == "F16" else torch.bfloat16
    cut = {}
    for name, tensor in weights.items():
        if layer(name) < layers and not (".0." not in name and "relative_attention_bias" in name):
            if tensor.shape[:1] == (tokens,):
                tensor = tensor[:TOKENS]
            cut[name] = tensor.to(element).contiguous().clone()
    if config["model_type"] == "t5":
        for name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"):
            cut.pop(name, None)
    return config, cut


def hparams(folder, is_mistral_format=False, load=ModelBase.load_hparams):
    """With what configs of old files have and newer versions of transformers drop."""
    values = load(folder, is_mistral_format)
    raw = json.loads((pathlib.Path(folder) / "config.json").read_text())
    for key in ("rotary_pct", "n_positions"):
        if key in raw:
            values["n_ctx" if key == "n_positions" else key] = raw[key]
    return values


ModelBase.load_hparams = staticmethod(hparams)
out = here / "GGUFFixtures"
shutil.rmtree(out, ignore_errors=True)
out.mkdir()
for name, checkpoint, layers, kind, options in CASES:
    config, weights = model(checkpoint, layers, kind)
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        folder = pathlib.Path(scratch) / name.replace("mistral", "Mistral")
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        vocabulary = {"model": {"vocab": {str(i): i for i in range(TOKENS)}}, "added_tokens": []}
        (folder / "tokenizer.json").write_text(json.dumps(vocabulary))
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        family = get_model_class(get_model_architecture(ModelBase.load_hparams(folder, False), ModelType.TEXT))
        family.set_vocab = lambda self: None
        family(folder, FILE_TYPES[kind], out / f"{name}.gguf", eager=True, **options).write()
    save_file(weights, out / f"{name}.safetensors", metadata={"format": "pt"})
    (out / f"{name}.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
