/// Chat templates by name, Jinja with `trim_blocks` and `lstrip_blocks` as transformers runs it.
///
/// Each follows the published prompt format of its family; the roles are `system`, `user` and `assistant`.
public let builtInChatTemplates: [String: String] = [
  "alpaca": alpaca, "chatml": chatML, "exaone": exaone, "llama3": llama3, "mistral": mistral,
]

/// https://github.com/tatsu-lab/stanford_alpaca, without input field. Turns are parted by a blank line.
private let alpaca = #"""
  {{ bos_token }}
  {%- if not messages or messages[0]['role'] != 'system' %}
  {{- 'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n' }}
  {%- endif %}
  {%- for message in messages %}
  {%- if message['role'] == 'system' %}
  {{- message['content'] | trim + '\n\n' }}
  {%- elif message['role'] == 'user' %}
  {{- '### Instruction:\n' + message['content'] | trim + '\n\n' }}
  {%- elif message['role'] == 'assistant' %}
  {{- '### Response:\n' + message['content'] | trim + eos_token + '\n\n' }}
  {%- endif %}
  {%- endfor %}
  {%- if add_generation_prompt %}
  {{- '### Response:\n' }}
  {%- endif %}
  """#

/// https://github.com/openai/openai-python/blob/release-v0.28.0/chatml.md
private let chatML = #"""
  {%- for message in messages %}
  {{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}
  {%- endfor %}
  {%- if add_generation_prompt %}
  {{- '<|im_start|>assistant\n' }}
  {%- endif %}
  """#

/// EXAONE 3.0 (https://arxiv.org/abs/2408.03541): only the assistant's and the system's turns are closed by a token.
private let exaone = #"""
  {%- if not messages or messages[0]['role'] != 'system' %}
  {{- '[|system|][|endofturn|]\n' }}
  {%- endif %}
  {%- for message in messages %}
  {{- '[|' + message['role'] + '|]' + message['content'] }}
  {%- if message['role'] != 'user' %}
  {{- '[|endofturn|]' }}
  {%- endif %}
  {{- '\n' }}
  {%- endfor %}
  {%- if add_generation_prompt %}
  {{- '[|assistant|]' }}
  {%- endif %}
  """#

/// https://www.llama.com/docs/model-cards-and-prompt-formats/meta-llama-3
private let llama3 = #"""
  {{- bos_token }}
  {%- for message in messages %}
  {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
  {%- endfor %}
  {%- if add_generation_prompt %}
  {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
  {%- endif %}
  """#

/// https://huggingface.co/mistralai/Mistral-7B-Instruct-v0.2: the system's words go before the first instruction.
private let mistral = #"""
  {{- bos_token }}
  {%- set system = namespace(text='') %}
  {%- for message in messages %}
  {%- if message['role'] == 'system' %}
  {%- set system.text = message['content'] | trim + '\n\n' %}
  {%- elif message['role'] == 'user' %}
  {{- '[INST] ' + system.text + message['content'] | trim + ' [/INST]' }}
  {%- set system.text = '' %}
  {%- elif message['role'] == 'assistant' %}
  {{- ' ' + message['content'] | trim + eos_token }}
  {%- endif %}
  {%- endfor %}
  """#
