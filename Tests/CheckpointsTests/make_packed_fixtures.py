"""Makes Fixtures/packed: matrices quantized by the packages whose layouts they are in.

Needs gptqmodel 7.7 (GPTQ), autoawq 0.2.9 (AWQ), compressed-tensors 0.20, torch, transformers, safetensors. The packages
pack codes, scales and zero points that are drawn here, and unpack them again. Every folder is a checkpoint with

    expected.safetensors   NAME.weight  the matrix as the package unpacks it, in the type of its scales
                           NAME.codes, NAME.scales, NAME.zeros, NAME.groups  what went in (zeros and groups where there are any)

Usage: make_packed_fixtures.py OUTPUT [SOURCES OF AUTOAWQ]
"""

import json
import os
import sys
import types

import torch
from safetensors.torch import save_file

output = sys.argv[1]
# autoawq's whole package wants an older transformers; the layer itself does not.
if len(sys.argv) > 2:
    module = types.ModuleType("awq")
    module.__path__ = [f"{sys.argv[2]}/awq"]
    sys.modules["awq"] = module

generator = torch.Generator().manual_seed(20)


def draw(rows, columns, bits, group, dtype, symmetric, tile_rows=1, low=0):
    """Codes, scales and zeros of random matrices; zeros from `low` up."""
    codes = torch.randint(0, 2**bits, (rows, columns), generator=generator)
    shape = ((rows - 1) // tile_rows + 1, (columns - 1) // group + 1)
    scales = (torch.rand(shape, generator=generator) * 0.05 + 0.01).to(dtype)
    zeros = torch.randint(low, 2**bits, shape, generator=generator)
    if symmetric:
        zeros[:] = 2 ** (bits - 1)
    return codes, scales, zeros


def spread(table, rows, columns, group, tile_rows=1, groups=None):
    index = torch.arange(columns) // group if groups is None else groups.long()
    return table.repeat_interleave(tile_rows, 0)[:rows][:, index]


def write(name, tensors, expected, config):
    folder = f"{output}/{name}"
    os.makedirs(folder, exist_ok=True)
    metadata = {"format": "pt"}
    save_file({k: v.contiguous() for k, v in tensors.items()}, f"{folder}/model.safetensors", metadata)
    save_file({k: v.contiguous() for k, v in expected.items()}, f"{folder}/expected.safetensors", metadata)
    with open(f"{folder}/config.json", "w") as file:
        json.dump(config, file, indent=1)
        file.write("\n")


def inputs(name, codes, scales, zeros=None, groups=None):
    result = {f"{name}.codes": codes.to(torch.uint8), f"{name}.scales": scales.float()}
    if zeros is not None:
        result[f"{name}.zeros"] = zeros.to(torch.uint8)
    if groups is not None:
        result[f"{name}.groups"] = groups.to(torch.int32)
    return result


# --- GPTQ ---------------------------------------------------------------------------------------------------------


def gptq():
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

    rows, columns = 64, 96
    for version in (1, 2):
        for bits in (2, 3, 4, 8):
            tensors, expected = {}, {}
            for name, symmetric, reordered in (("m.sym", True, False), ("m.asym", False, False), ("m.act", False, True)):
                group = 32
                # The first version cannot have a zero point of 0.
                codes, scales, zeros = draw(rows, columns, bits, group, torch.float16, symmetric, low=2 - version)
                groups = torch.arange(columns, dtype=torch.int32) // group
                if reordered:
                    groups = groups[torch.randperm(columns, generator=generator)]
                s = spread(scales.float(), rows, columns, group, groups=groups)
                z = spread(zeros.float(), rows, columns, group, groups=groups)
                linear = torch.nn.Linear(columns, rows, bias=False)
                linear.weight.data = (codes - z) * s
                layer = TorchLinear(bits, group, symmetric, reordered, columns, rows)
                layer.pack_original(linear, scales.float(), zeros.float(), groups)
                layer.post_init()
                weight = layer.dequantize_weight().T
                if version == 1:
                    convert_gptq_v2_to_v1_format_module(
                        layer, types.SimpleNamespace(bits=bits, pack_dtype=torch.int32))
                for part in ("qweight", "qzeros", "scales", "g_idx"):
                    tensors[f"{name}.{part}"] = getattr(layer, part).clone()
                expected[f"{name}.weight"] = weight
                expected |= inputs(name, codes, scales, None if symmetric else zeros, groups if reordered else None)
            tensors["m.norm.weight"] = torch.ones(8, dtype=torch.float16)
            section = {
                "quant_method": "gptq", "bits": bits, "group_size": 32, "desc_act": True, "sym": False,
                "checkpoint_format": "gptq" if version == 1 else "gptq_v2",
            }
            write(f"gptq-v{version}-{bits}", tensors, expected, {"model_type": "none", "quantization_config": section})


# --- AWQ ----------------------------------------------------------------------------------------------------------


def awq():
    from awq.modules.linear.gemm import WQLinear_GEMM
    from awq.utils.packing_utils import dequantize_gemm

    tensors, expected = {}, {}
    for name, rows, columns in (("m.wide", 64, 96), ("m.odd", 40, 32)):
        codes, scales, zeros = draw(rows, columns, 4, 32, torch.float16, False)
        s, z = spread(scales.float(), rows, columns, 32), spread(zeros.float(), rows, columns, 32)
        linear = torch.nn.Linear(columns, rows, bias=False)
        linear.weight.data = (codes - z) * s
        # The layer counts its words by 32 outputs; 40 are padded to 64 and cut again.
        layer = WQLinear_GEMM.from_linear(linear, 4, 32, False, scales.float().T, zeros.float().T) if rows % 32 == 0 else None
        if layer is None:
            padding = torch.nn.functional.pad
            linear.weight.data = padding(linear.weight.data, (0, 0, 0, 24))
            linear.out_features = 64
            layer = WQLinear_GEMM.from_linear(
                linear, 4, 32, False, padding(scales.float(), (0, 0, 0, 24), value=1.0).T, padding(zeros.float(), (0, 0, 0, 24)).T)
        words = rows // 8
        layer.qweight, layer.qzeros = layer.qweight[:, :words], layer.qzeros[:, :words]
        layer.scales = layer.scales[:, :rows]
        for part in ("qweight", "qzeros", "scales"):
            tensors[f"{name}.{part}"] = getattr(layer, part).clone()
        expected[f"{name}.weight"] = dequantize_gemm(layer.qweight, layer.qzeros, layer.scales, 4, 32).T
        expected |= inputs(name, codes, scales, zeros)
    section = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "GEMM"}
    write("awq", tensors, expected, {"model_type": "none", "quantization_config": section})


# --- compressed-tensors -------------------------------------------------------------------------------------------


def compressor(format):
    from compressed_tensors.compressors import BaseCompressor

    return BaseCompressor.get_value_from_registry(format)


def compressed_case(format, arguments, name, rows, columns, dtype):
    """One matrix: its tensors, and what is expected of it."""
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    args = QuantizationArgs(**arguments)
    scheme = QuantizationScheme(targets=[name], weights=args, format=format)
    group = {"group": args.group_size, "block": (args.block_structure or [0, 0])[1]}.get(args.strategy, columns)
    tile_rows = {"tensor": rows, "block": (args.block_structure or [0, 0])[0]}.get(args.strategy, 1)
    middle = 2 ** (args.num_bits - 1)
    codes, scales, zeros = draw(rows, columns, args.num_bits, group, dtype, args.symmetric, tile_rows)
    s = spread(scales.float(), rows, columns, group, tile_rows)
    if args.type == "float":
        # The package does not keep the sign of a zero.
        values = ((torch.randn((rows, columns), generator=generator) * 20).to(torch.float8_e4m3fn).float() + 0.0).to(
            torch.float8_e4m3fn)
        weight, codes = values.float() * s, values.view(torch.uint8)
    else:
        weight = (codes - spread(zeros, rows, columns, group, tile_rows)) * s
    state = {
        "weight": weight, "weight_scale": scales.reshape(1) if args.strategy == "tensor" else scales,
        "weight_zero_point": (zeros - middle).to(torch.int8),
    }
    if args.strategy == "tensor":
        state["weight_zero_point"] = state["weight_zero_point"].reshape(1)
    stored = compressor(format).compress(state, scheme)
    unpacked = compressor(format).decompress(stored, scheme)
    tensors = {f"{name}.{key}": value for key, value in stored.items()}
    expected = {f"{name}.weight": unpacked["weight"]}
    expected |= inputs(name, codes, scales, None if args.symmetric else zeros)
    return tensors, expected, json.loads(scheme.model_dump_json())


def compressed():
    cases = {"pack": [], "naive": []}
    rows, columns = 40, 96
    for bits in (1, 2, 3, 4, 5, 6, 7, 8):
        cases["pack"].append(("pack-quantized", dict(num_bits=bits, strategy="group", group_size=32), columns))
    cases["pack"] += [
        ("pack-quantized", dict(num_bits=4, strategy="group", group_size=32, symmetric=False), columns),
        ("pack-quantized", dict(num_bits=3, strategy="channel", symmetric=False), 50),
        ("pack-quantized", dict(num_bits=4, strategy="channel"), 37),
        ("pack-quantized", dict(num_bits=6, strategy="tensor"), 33),
    ]
    integers = dict(num_bits=8)
    floats = dict(num_bits=8, type="float")
    for arguments, format in ((integers, "int-quantized"), (floats, "float-quantized")):
        for strategy in (
            dict(strategy="tensor"), dict(strategy="channel"), dict(strategy="group", group_size=32),
            dict(strategy="block", block_structure=[16, 64]),
        ):
            cases["naive"].append((format, arguments | strategy, columns))
    cases["naive"] += [
        ("naive-quantized", dict(num_bits=8, strategy="channel", symmetric=False), columns),
        ("naive-quantized", dict(num_bits=5, strategy="group", group_size=16, symmetric=False), columns),
    ]
    for folder, entries in cases.items():
        tensors, expected, groups = {}, {}, {}
        for index, (format, arguments, columns) in enumerate(entries):
            dtype = (torch.bfloat16, torch.float16, torch.float32)[index % 3]
            added = compressed_case(format, arguments, f"m.{index}", rows, columns, dtype)
            tensors |= added[0]
            expected |= added[1]
            groups[f"group_{index}"] = added[2]
        section = {
            "quant_method": "compressed-tensors", "format": "mixed-precision", "quantization_status": "compressed",
            "config_groups": groups, "ignore": ["lm_head"],
        }
        write(f"compressed-{folder}", tensors, expected, {"model_type": "none", "quantization_config": section})


# --- Whole models -------------------------------------------------------------------------------------------------


def models():
    """A small llama with its matrices in a form of compressed-tensors, quantized by the package's own observers."""
    from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(5)
    config = LlamaConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=64, max_position_embeddings=128, tie_word_embeddings=False)
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    for name, format, arguments in (
        ("llama-w4a16", "pack-quantized", dict(num_bits=4, strategy="group", group_size=32)),
        ("llama-int8", "int-quantized", dict(num_bits=8, strategy="channel")),
        ("llama-fp8", "float-quantized", dict(num_bits=8, type="float", strategy="channel")),
    ):
        args = QuantizationArgs(**arguments)
        activations = None
        if format != "pack-quantized":
            activations = QuantizationArgs(num_bits=8, type=args.type, strategy="token", dynamic=True)
        scheme = QuantizationScheme(targets=["Linear"], weights=args, input_activations=activations, format=format)
        tensors, expected = {}, {}
        for key, value in model.state_dict().items():
            if "_proj" not in key:
                tensors[key] = value
                continue
            module = key.removesuffix(".weight")
            split = value.reshape(value.shape[0], -1, args.group_size or value.shape[1])
            scales, zeros = calculate_qparams(split.amin(-1), split.amax(-1), args)
            state = {"weight": value, "weight_scale": scales, "weight_zero_point": zeros.to(torch.int8)}
            stored = compressor(format).compress(state, scheme)
            tensors |= {f"{module}.{part}": tensor for part, tensor in stored.items()}
            expected[key] = compressor(format).decompress(stored, scheme)["weight"]
        section = QuantizationConfig(
            config_groups={"group_0": scheme}, format=format, quantization_status="compressed", ignore=["lm_head"])
        json_config = json.loads(config.to_json_string())
        json_config["architectures"] = ["LlamaForCausalLM"]
        json_config["dtype"] = "bfloat16"
        json_config["quantization_config"] = json.loads(section.model_dump_json())
        write(name, tensors, expected, json_config)


for step in sys.argv[3].split(",") if len(sys.argv) > 3 else ("gptq", "awq", "compressed", "models"):
    globals()[step]()
