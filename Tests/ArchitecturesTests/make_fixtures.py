"""Makes the fixtures of families that have no golden: what transformers itself names and shapes its tensors.

Each case is a tiny random model, saved by `save_pretrained`; kept are its config.json and `tensors.json`, the names
and shapes in the safetensors header. Sizes are odd and distinct, so that a wrong axis cannot fit by coincidence.

    python make_fixtures.py OUTPUT_FOLDER [CASE ...]

Made with torch 2.15 and transformers 5.23.
"""

import json
import pathlib
import struct
import sys
import tempfile

import torch
import transformers as tr

TEXT = dict(vocab_size=131, hidden_size=42, intermediate_size=76, num_hidden_layers=3, num_attention_heads=6,
            num_key_value_heads=2, head_dim=10, max_position_embeddings=64, pad_token_id=0)
WITHOUT_HEAD_WIDTH = {key: value for key, value in TEXT.items() if key != "head_dim"}
VISION = dict(hidden_size=36, intermediate_size=58, num_hidden_layers=2, num_attention_heads=3, image_size=28,
              patch_size=7, num_channels=3)


def smollm():
    return tr.LlamaForCausalLM(tr.LlamaConfig(**{**TEXT, "num_key_value_heads": 3}, tie_word_embeddings=True))


def llama_classifier():
    return tr.LlamaForSequenceClassification(tr.LlamaConfig(**TEXT, num_labels=5))


def mistral_headdim():
    return tr.MistralForCausalLM(tr.MistralConfig(**TEXT))


def mixtral_odd():
    return tr.MixtralForCausalLM(tr.MixtralConfig(**TEXT, num_local_experts=5))


def qwen2_odd():
    return tr.Qwen2ForCausalLM(tr.Qwen2Config(**WITHOUT_HEAD_WIDTH))


def qwen2_moe():
    return tr.Qwen2MoeForCausalLM(tr.Qwen2MoeConfig(
        **WITHOUT_HEAD_WIDTH, num_experts=5, moe_intermediate_size=26,
        shared_expert_intermediate_size=34, mlp_only_layers=[1], decoder_sparse_step=1))


def qwen2_moe_step():
    return tr.Qwen2MoeForCausalLM(tr.Qwen2MoeConfig(
        **WITHOUT_HEAD_WIDTH, num_experts=5, moe_intermediate_size=26,
        shared_expert_intermediate_size=34, mlp_only_layers=[], decoder_sparse_step=2))


def qwen3_bias():
    return tr.Qwen3ForCausalLM(tr.Qwen3Config(**TEXT, attention_bias=True, tie_word_embeddings=False))


def gemma2_odd():
    return tr.Gemma2ForCausalLM(tr.Gemma2Config(**TEXT))


def gemma3_vision():
    return tr.Gemma3ForConditionalGeneration(tr.Gemma3Config(
        text_config=dict(**TEXT), vision_config=dict(**VISION, vision_use_head=False), mm_tokens_per_image=4))


def phi3_odd():
    return tr.Phi3ForCausalLM(tr.Phi3Config(**WITHOUT_HEAD_WIDTH))


def olmo2_odd():
    return tr.Olmo2ForCausalLM(tr.Olmo2Config(**WITHOUT_HEAD_WIDTH))


def deepseek(**more):
    return tr.DeepseekV3ForCausalLM(tr.DeepseekV3Config(
        **{**WITHOUT_HEAD_WIDTH, "num_key_value_heads": 6}, moe_intermediate_size=22, n_routed_experts=8, n_shared_experts=3,
        num_experts_per_tok=2, n_group=2, topk_group=1, first_k_dense_replace=1, kv_lora_rank=18,
        qk_rope_head_dim=4, qk_nope_head_dim=9, v_head_dim=11, **more))


def deepseek_v3():
    return deepseek(q_lora_rank=26)


def deepseek_v3_full_query():
    return deepseek(q_lora_rank=None)


def gpt_oss():
    return tr.GptOssForCausalLM(tr.GptOssConfig(**TEXT, num_local_experts=5, num_experts_per_tok=2))


def gpt2_base():
    return tr.GPT2Model(tr.GPT2Config(vocab_size=131, n_embd=44, n_layer=3, n_head=4, n_positions=50, n_inner=70))


def gpt_neox_base():
    return tr.GPTNeoXModel(tr.GPTNeoXConfig(vocab_size=131, hidden_size=44, num_hidden_layers=3,
                                            num_attention_heads=4, intermediate_size=76))


def encoder(config, **more):
    return config(vocab_size=131, hidden_size=44, num_hidden_layers=3, num_attention_heads=4, intermediate_size=76,
                  max_position_embeddings=50, type_vocab_size=3, **more)


def bert_pretraining():
    return tr.BertForPreTraining(encoder(tr.BertConfig))


def bert_tokens():
    return tr.BertForTokenClassification(encoder(tr.BertConfig, num_labels=5))


def bert_question():
    return tr.BertForQuestionAnswering(encoder(tr.BertConfig))


def roberta_base():
    return tr.RobertaModel(encoder(tr.RobertaConfig))


def distilbert_base():
    return tr.DistilBertModel(tr.DistilBertConfig(vocab_size=131, dim=44, n_layers=3, n_heads=4, hidden_dim=76,
                                                  max_position_embeddings=50))


def mamba_bias():
    return tr.MambaForCausalLM(tr.MambaConfig(
        vocab_size=131, hidden_size=44, state_size=7, num_hidden_layers=3, expand=3, conv_kernel=5,
        time_step_rank=6, use_bias=True, tie_word_embeddings=False))


def mamba2_groups():
    return tr.Mamba2ForCausalLM(tr.Mamba2Config(
        vocab_size=131, hidden_size=44, state_size=7, num_hidden_layers=3, expand=3, conv_kernel=5, num_heads=12,
        head_dim=11, n_groups=2, use_bias=True, tie_word_embeddings=True))


def vit_base():
    return tr.ViTModel(tr.ViTConfig(**VISION))


def clip_vision():
    return tr.CLIPVisionModel(tr.CLIPVisionConfig(**VISION, projection_dim=20))


def siglip_vision():
    return tr.SiglipVisionModel(tr.SiglipVisionConfig(**VISION))


def resnet_base():
    return tr.ResNetModel(tr.ResNetConfig(embedding_size=14, hidden_sizes=[20, 28], depths=[2, 2],
                                          layer_type="bottleneck", num_channels=3))


def t5_encoder():
    return tr.T5EncoderModel(tr.T5Config(vocab_size=131, d_model=44, d_kv=9, d_ff=76, num_layers=3, num_heads=4,
                                         relative_attention_num_buckets=10))


def t5_uneven():
    return tr.T5ForConditionalGeneration(tr.T5Config(
        vocab_size=131, d_model=44, d_kv=9, d_ff=76, num_layers=3, num_decoder_layers=2, num_heads=4,
        relative_attention_num_buckets=10, feed_forward_proj="gated-gelu"))


def whisper():
    return tr.WhisperForConditionalGeneration(tr.WhisperConfig(
        vocab_size=131, num_mel_bins=13, d_model=40, encoder_layers=3, encoder_attention_heads=4, decoder_layers=2,
        decoder_attention_heads=5, encoder_ffn_dim=76, decoder_ffn_dim=68, max_source_positions=30,
        max_target_positions=24, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3))


def llava():
    return tr.LlavaForConditionalGeneration(tr.LlavaConfig(
        text_config=tr.LlamaConfig(**TEXT), vision_config=tr.CLIPVisionConfig(**VISION, projection_dim=20)))


def llava_mistral():
    return tr.LlavaForConditionalGeneration(tr.LlavaConfig(
        text_config=tr.MistralConfig(**TEXT), vision_config=tr.SiglipVisionConfig(**VISION)))


CASES = [value for name, value in list(globals().items())
         if callable(value) and getattr(value, "__module__", "") == __name__ and name not in ("deepseek", "encoder")]


def header(path):
    with open(path, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        entries = json.loads(file.read(length))
    return {name: entry["shape"] for name, entry in sorted(entries.items()) if name != "__metadata__"}


def write(case, folder):
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as saved:
        case().save_pretrained(saved)
        target = pathlib.Path(folder) / case.__name__
        target.mkdir(parents=True, exist_ok=True)
        config = json.loads((pathlib.Path(saved) / "config.json").read_text())
        (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        shapes = header(pathlib.Path(saved) / "model.safetensors")
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(shape)}" for name, shape in shapes.items())
        (target / "tensors.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    wanted = sys.argv[2:]
    for case in CASES:
        if not wanted or case.__name__ in wanted:
            write(case, sys.argv[1])
