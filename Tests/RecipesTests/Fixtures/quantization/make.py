"""Writes types.json and digests.json: what llama.cpp's quantizer (llama-cpp-python 0.3.36, gguf 0.19) makes of models.

    python make.py SOURCE.gguf

types.json: the types of the tensors of synthetic models, by mix. digests.json: SHA-256 of whole files made of SOURCE.
"""
import ctypes, hashlib, json, os, sys, tempfile
import gguf, llama_cpp, numpy as np

MIXES = {'Q2_K_S': 21, 'Q2_K': 10, 'Q3_K_S': 11, 'Q3_K_M': 12, 'Q3_K_L': 13, 'IQ4_XS': 30, 'IQ4_NL': 25, 'Q4_0': 2,
         'Q4_1': 3, 'Q4_K_S': 14, 'Q4_K_M': 15, 'Q5_0': 8, 'Q5_1': 9, 'Q5_K_S': 16, 'Q5_K_M': 17, 'Q6_K': 18,
         'MXFP4_MOE': 38, 'Q8_0': 7, 'F16': 1, 'BF16': 32}
# layers, width, feed-forward width, heads, keys and values, experts
MODELS = {'deep': (24, 256, 256, 8, 2, 0), 'experts': (16, 256, 256, 8, 8, 8), 'narrow': (9, 96, 144, 4, 4, 0),
          'tall': (80, 256, 256, 8, 1, 0)}
VOCABULARY = 64


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def quiet(level, text, data):
    pass


llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))


def write(path, layers, width, inner, heads, values, experts):
    writer = gguf.GGUFWriter(path, 'llama')
    writer.add_block_count(layers)
    writer.add_context_length(128)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(values)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(VOCABULARY)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(2)
    writer.add_tokenizer_model('llama')
    writer.add_token_list([b'<unk>', b'<s>', b'</s>'] + [f't{i}'.encode() for i in range(VOCABULARY - 3)])
    writer.add_token_scores([0.0] * VOCABULARY)
    writer.add_token_types([2, 3, 3] + [1] * (VOCABULARY - 3))

    def add(name, *shape):
        writer.add_tensor(name, np.full(shape, 0.5, dtype=np.float32))

    add('token_embd.weight', VOCABULARY, width)
    add('output.weight', VOCABULARY, width)
    add('output_norm.weight', width)
    for layer in range(layers):
        part = f'blk.{layer}.'
        add(part + 'attn_norm.weight', width)
        add(part + 'ffn_norm.weight', width)
        for name, rows in [('q', width), ('k', width // heads * values), ('v', width // heads * values)]:
            add(part + f'attn_{name}.weight', rows, width)
        add(part + 'attn_output.weight', width, width)
        if experts:
            add(part + 'ffn_gate_inp.weight', experts, width)
            add(part + 'ffn_gate_exps.weight', experts, inner, width)
            add(part + 'ffn_up_exps.weight', experts, inner, width)
            add(part + 'ffn_down_exps.weight', experts, width, inner)
        else:
            add(part + 'ffn_gate.weight', inner, width)
            add(part + 'ffn_up.weight', inner, width)
            add(part + 'ffn_down.weight', width, inner)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantize(source, target, mix):
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = MIXES[mix]
    parameters.nthread = 1
    parameters.allow_requantize = True
    return llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(parameters)) == 0


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory() as folder:
        target = os.path.join(folder, 'target.gguf')
        types = {}
        for name, shape in MODELS.items():
            source = os.path.join(folder, f'{name}.gguf')
            write(source, *shape)
            tensors = {t.name: [int(n) for n in reversed(t.shape)] for t in gguf.GGUFReader(source).tensors}
            found = {mix: {t.name: t.tensor_type.name for t in gguf.GGUFReader(target).tensors}
                     for mix in MIXES if quantize(source, target, mix)}
            types[name] = {'layers': shape[0], 'heads': shape[3], 'keyValueHeads': shape[4], 'experts': shape[5],
                           'mixes': list(found),
                           'tensors': [[n, tensors[n], ' '.join(found[m][n] for m in found)] for n in sorted(tensors)]}
        with open(os.path.join(here, 'types.json'), 'w') as file:
            json.dump(types, file, separators=(',', ':'))
        digests = {}
        for mix in MIXES:
            if quantize(sys.argv[1], target, mix):
                digests[mix] = hashlib.sha256(open(target, 'rb').read()).hexdigest()
        with open(os.path.join(here, 'digests.json'), 'w') as file:
            json.dump(digests, file, indent=1)


main()
