#!/usr/bin/env python3
"""Writes the small random models of Fixtures whose names end in _variant, with what transformers computes from them:
options of encoder, state-space, vision and encoder-decoder families that the other fixtures leave at their defaults.

Needs torch, transformers (5.23) and safetensors. Run in this folder: make_fixtures.py [NAME ...]
"""

import json
import os
import sys

import torch
import transformers as t
from safetensors.torch import save_file

torch.set_grad_enabled(False)

ENCODER = dict(vocab_size=60, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
               max_position_embeddings=24)
DISTIL = dict(vocab_size=60, dim=24, n_layers=2, n_heads=3, hidden_dim=40, max_position_embeddings=24)
T5 = dict(vocab_size=60, d_model=24, d_kv=6, d_ff=40, num_heads=3, relative_attention_num_buckets=6,
          relative_attention_max_distance=9)
LABELS = {"num_labels": 5}

# name: (class, config, what goes in, which outputs)
CASES = {
    "bert_token": ("BertForTokenClassification", t.BertConfig(**ENCODER, **LABELS, hidden_act="gelu_new"), "text", ["logits"]),
    "bert_order": ("BertForNextSentencePrediction", t.BertConfig(**ENCODER, hidden_act="relu"), "text", ["logits"]),
    "bert_pretraining": ("BertForPreTraining", t.BertConfig(**ENCODER, layer_norm_eps=0.01), "text",
                         ["prediction_logits:logits", "seq_relationship_logits"]),
    "bert_causal": ("BertLMHeadModel", t.BertConfig(**ENCODER, is_decoder=True, tie_word_embeddings=False), "text", ["logits"]),
    "bert_unpooled": ("BertModel", t.BertConfig(**ENCODER), "text", ["last_hidden_state"]),
    "roberta_base": ("RobertaModel", t.RobertaConfig(**ENCODER, pad_token_id=3), "text", ["last_hidden_state", "pooler_output:pooled"]),
    "roberta_token": ("XLMRobertaForTokenClassification", t.XLMRobertaConfig(**ENCODER, **LABELS, type_vocab_size=1), "text", ["logits"]),
    "distilbert_base": ("DistilBertModel", t.DistilBertConfig(**DISTIL, activation="relu"), "text", ["last_hidden_state"]),
    "distilbert_token": ("DistilBertForTokenClassification", t.DistilBertConfig(**DISTIL, **LABELS), "text", ["logits"]),
    "mamba_options": ("MambaForCausalLM", t.MambaConfig(
        vocab_size=60, hidden_size=20, state_size=20, num_hidden_layers=2, expand=2, conv_kernel=3, use_bias=True,
        use_conv_bias=False, hidden_act="gelu", tie_word_embeddings=False), "causal", ["logits"]),
    "mamba2_options": ("Mamba2ForCausalLM", t.Mamba2Config(
        vocab_size=60, hidden_size=20, state_size=20, num_heads=4, head_dim=10, n_groups=2, num_hidden_layers=2, expand=2,
        conv_kernel=3, use_bias=True, use_conv_bias=False, hidden_act="gelu", chunk_size=5, time_step_limit=(0.3, 0.9),
        tie_word_embeddings=True), "causal", ["logits"]),
    "vit_base": ("ViTModel", t.ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, image_size=20, patch_size=6,
        num_channels=1, qkv_bias=False, hidden_act="gelu_new", pooler_act="relu", pooler_output_size=10), (1, 20, 20),
                 ["last_hidden_state", "pooler_output:pooled"]),
    "resnet_bottleneck": ("ResNetModel", t.ResNetConfig(
        num_channels=2, embedding_size=8, hidden_sizes=[16, 24], depths=[2, 1], layer_type="bottleneck", hidden_act="gelu",
        downsample_in_first_stage=True, downsample_in_bottleneck=True), (2, 37, 30), ["last_hidden_state", "pooler_output:pooled"]),
    "resnet_basic": ("ResNetModel", t.ResNetConfig(
        num_channels=3, embedding_size=8, hidden_sizes=[12], depths=[2], layer_type="basic", hidden_act="silu"), (3, 21, 26),
                     ["last_hidden_state", "pooler_output:pooled"]),
    "t5_encoder": ("T5EncoderModel", t.T5Config(**T5, num_layers=2, feed_forward_proj="gated-silu"), "text", ["last_hidden_state"]),
    "t5_base": ("T5Model", t.T5Config(**T5, num_layers=1, num_decoder_layers=2, layer_norm_epsilon=0.01), "texts",
                ["last_hidden_state", "encoder_last_hidden_state"]),
    "bert_long": ("BertModel", t.BertConfig(**ENCODER | {"max_position_embeddings": 160}), "text of 150", ["last_hidden_state"]),
    "t5_long": ("T5Model", t.T5Config(**T5, num_layers=1, num_decoder_layers=1), "texts of 140",
                ["last_hidden_state", "encoder_last_hidden_state"]),
    "vit_long": ("ViTModel", t.ViTConfig(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=3, intermediate_size=40, image_size=40, patch_size=4,
        num_channels=1), (1, 40, 40), ["last_hidden_state"]),
}


def scatter(model):
    """Random values everywhere: no norm is 1, no bias 0, no statistic trivial."""
    for name, value in list(model.named_parameters()) + list(model.named_buffers()):
        if not value.is_floating_point() or name.endswith("A_log"):
            continue
        noise = torch.randn_like(value) * 0.3
        value.copy_(noise.abs() + 0.5 if "running_var" in name else noise + 1 if value.dim() == 1 and "weight" in name else noise)


def inputs_of(kind, config, name):
    if not isinstance(kind, str):
        return {"pixel_values": torch.randn(2, *kind)}
    kind, _, length = kind.partition(" of ")
    length = int(length or 19)
    ids = torch.randint(4, 60, (2, length))
    if kind == "causal":
        return {"input_ids": ids}
    mask = torch.ones_like(ids)
    mask[1, length - 5:] = 0
    if name.startswith("roberta"):
        ids[1, 14:] = config.pad_token_id
        ids[0, 4] = config.pad_token_id
    given = {"input_ids": ids, "attention_mask": mask}
    if name.startswith("bert"):
        given["token_type_ids"] = torch.randint(0, 2, ids.shape)
    if name == "t5_encoder":
        mask[0, :3] = 0
    if kind == "texts":
        given["decoder_input_ids"] = torch.randint(4, 60, (2, length - 6))
    return given


def greedy(model, prompt, count):
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[len(prompt):]


def write(name, class_name, config, kind, outputs):
    torch.manual_seed(7)
    arguments = {"add_pooling_layer": False} if name == "bert_unpooled" else {}
    model = getattr(t, class_name)(config, **arguments).eval()
    scatter(model)
    folder = f"Fixtures/{name}_variant"
    os.makedirs(folder, exist_ok=True)
    model.save_pretrained(folder)
    for extra in os.listdir(folder):
        if extra not in ("config.json", "model.safetensors"):
            os.remove(f"{folder}/{extra}")
    given = inputs_of(kind, config, name)
    result = model(**given)
    expected = dict(given)
    for output in outputs:
        source, _, target = output.partition(":")
        expected[target or source] = result[source]
    summary = {"case": name, "reference": f"transformers {t.__version__}, float32", "seed": 7}
    if kind == "causal":
        prompt = given["input_ids"][0, :8].tolist()
        tokens = greedy(model, prompt, 16)
        expected |= {"greedy_prompt": torch.tensor(prompt), "greedy_tokens": torch.tensor(tokens)}
        summary["greedy"] = {"prompt": prompt, "tokens": tokens}
        logs = result.logits.double().log_softmax(-1)[:, :-1]
        likelihoods = logs.gather(-1, given["input_ids"][:, 1:, None]).sum((1, 2))
        summary["nll_total_per_row"] = (-likelihoods).tolist()
    save_file({key: value.contiguous() for key, value in expected.items()}, f"{folder}/expected.safetensors")
    with open(f"{folder}/expected.json", "w") as file:
        json.dump(summary, file, indent=1)
        file.write("\n")


for name, case in CASES.items():
    if len(sys.argv) == 1 or name in sys.argv[1:]:
        write(name, *case)
