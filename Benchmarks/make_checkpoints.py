#!/usr/bin/env python3
"""Makes a base and three fine-tunes to time merges on: bfloat16, the shapes of TinyLlama 1.1B, seeded.

A fine-tune is the base plus a small normal delta, rounded to bfloat16 again, so that as in real checkpoints many
deltas are equal in magnitude and many are zero. Needs numpy. Folders that are complete already are left alone.
"""

import argparse
import json
import pathlib
import struct

import numpy

HIDDEN, INTERMEDIATE, HEADS, KEY_VALUE_HEADS, VOCABULARY = 2048, 5632, 32, 4, 32000
NAMES = ["base", "ft1", "ft2", "ft3"]
BASE_DEVIATION, DELTA_DEVIATION = 0.02, 0.0005


def layer_shapes(layer):
    key_value = HIDDEN // HEADS * KEY_VALUE_HEADS
    prefix = f"model.layers.{layer}."
    return {
        prefix + "input_layernorm.weight": (HIDDEN,),
        prefix + "mlp.down_proj.weight": (HIDDEN, INTERMEDIATE),
        prefix + "mlp.gate_proj.weight": (INTERMEDIATE, HIDDEN),
        prefix + "mlp.up_proj.weight": (INTERMEDIATE, HIDDEN),
        prefix + "post_attention_layernorm.weight": (HIDDEN,),
        prefix + "self_attn.k_proj.weight": (key_value, HIDDEN),
        prefix + "self_attn.o_proj.weight": (HIDDEN, HIDDEN),
        prefix + "self_attn.q_proj.weight": (HIDDEN, HIDDEN),
        prefix + "self_attn.v_proj.weight": (key_value, HIDDEN),
    }


def all_shapes(layers):
    shapes = {"lm_head.weight": (VOCABULARY, HIDDEN), "model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for layer in range(layers):
        shapes.update(layer_shapes(layer))
    shapes["model.norm.weight"] = (HIDDEN,)
    return shapes


def byte_count(shapes):
    return sum(2 * int(numpy.prod(shape)) for shape in shapes.values())


def layers_for(size):
    """The number of layers whose checkpoint comes closest to `size` bytes; at least one."""
    outside = byte_count(all_shapes(0))
    return max(1, round((size - outside) / byte_count(layer_shapes(0))))


def config(layers):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": 2048,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "bfloat16",
    }


def header(shapes):
    entries, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        end = offset + 2 * int(numpy.prod(shape))
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def to_bfloat16(values):
    """Rounds float32 to bfloat16 bits, ties to even. The values are finite."""
    bits = values.view(numpy.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(numpy.uint16)


def from_bfloat16(bits):
    return (bits.astype(numpy.uint32) << 16).view(numpy.float32)


def normal(generator, shape, deviation):
    return generator.standard_normal(shape, dtype=numpy.float32) * numpy.float32(deviation)


def write_models(out, shapes, layers, seed):
    generator = numpy.random.default_rng(seed)
    folders = [out / (name + ".partial") for name in NAMES]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config(layers), indent=2))
    files = [open(folder / "model.safetensors", "wb") for folder in folders]
    for file in files:
        file.write(header(shapes))
    for shape in shapes.values():
        mean = 1 if len(shape) == 1 else 0  # Norms are near one.
        bits = to_bfloat16(normal(generator, shape, BASE_DEVIATION) + numpy.float32(mean))
        base = from_bfloat16(bits)
        files[0].write(bits.tobytes())
        for file in files[1:]:
            file.write(to_bfloat16(base + normal(generator, shape, DELTA_DEVIATION)).tobytes())
    for file in files:
        file.close()
    for name, folder in zip(NAMES, folders):
        folder.rename(out / name)


def parse_size(text):
    units = {"K": 10**3, "M": 10**6, "G": 10**9}
    return int(float(text[:-1]) * units[text[-1].upper()]) if text[-1].upper() in units else int(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("/dev/shm/espalier-bench"))
    parser.add_argument("--size", type=parse_size, default="1.1G", help="bytes of one checkpoint, about (1.1G)")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    layers = layers_for(arguments.size)
    shapes = all_shapes(layers)
    description = {"layers": layers, "seed": arguments.seed, "names": NAMES}
    stamp = arguments.out / "made.json"
    if stamp.exists() and json.loads(stamp.read_text()) == description:
        return
    existing = [str(arguments.out / name) for name in NAMES if (arguments.out / name).exists()]
    if existing:
        parser.error("other models are there already, remove them first: " + " ".join(existing))
    write_models(arguments.out, shapes, layers, arguments.seed)
    stamp.write_text(json.dumps(description))
    print(f"made {len(NAMES)} checkpoints of {byte_count(shapes) / 1e9:.2f} GB, {layers} layers, in {arguments.out}")


if __name__ == "__main__":
    main()
