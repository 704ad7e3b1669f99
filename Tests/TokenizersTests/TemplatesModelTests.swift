import EspalierBasics
import TestSupport
import Testing

@testable import EspalierTokenizers

/// What a template is given, where it comes from, and how its problems read.
@Suite struct TemplatesModelTests {
  private let hello: JSON = [["role": "user", "content": "hi"]]

  @Test func problemsNameTheirPlace() {
    func problem(_ template: String) -> Problem? {
      do throws(Problem) {
        _ = try ChatTemplate(source: template).render(messages: hello)
        return nil
      } catch { return error }
    }
    let missing = problem("a\n{{ 'é' ~ nothing.here }}")
    #expect(missing?.code == .chatTemplateFailed)
    #expect(missing?.message == "chat template, line 2, column 17: 'nothing' is undefined")
    let syntax = problem("{% if x %}\n  {{ y }")
    #expect(syntax?.code == .chatTemplateSyntax)
    #expect(syntax?.message == "chat template, line 2, column 8: unexpected '}'")
    #expect(problem("{% for x in y %}")?.message == "chat template, line 1, column 4: 'for' is not closed")
    let unknown = problem("{{ messages|lenght }}")
    #expect(unknown?.code == .chatTemplateUnsupported)
    #expect(unknown?.message == "chat template, line 1, column 13: there is no filter 'lenght'; 'length'?")
    #expect(problem("{% include 'x' %}")?.code == .chatTemplateUnsupported)
    let refused = problem("{{ raise_exception('Only user and assistant!') }}")
    #expect(refused?.code == .chatTemplateRefused)
    #expect(refused?.message == "chat template, line 1, column 19: Only user and assistant!")
  }

  @Test func whatATemplateSees() throws {
    func render(_ source: String, messages: JSON? = nil, tools: JSON? = nil, options: [String: JSON] = [:]) throws
      -> String
    {
      try ChatTemplate(source: source).render(
        messages: messages ?? hello, tools: tools, addGenerationPrompt: true,
        specialTokens: ["bos_token": "<s>", "eos_token": "</s>"], options: options)
    }
    #expect(try render("{{ [tools, documents, add_generation_prompt, bos_token] }}") == "[None, None, True, '<s>']")
    #expect(try render("{{ tools|length }}{{ q }}", tools: [[:], [:]], options: ["q": 5]) == "25")
    #expect(try render("{{ bos_token }}", options: ["bos_token": "x"]) == "x")
    // Members that are null are as good as left out; reasoning goes by any of its names.
    let message: JSON = [["role": "assistant", "content": nil, "reasoning": "because"]]
    #expect(
      try render("{{ messages[0] }}", messages: message)
        == "{'thinking': 'because', 'role': 'assistant', 'reasoning': 'because', 'reasoning_content': 'because'}")
    #expect(throws: Problem.self) { try render("x", messages: []) }
    #expect(throws: Problem.self) { try render("x", messages: ["hi"]) }
  }

  /// A key is what its bytes are: a precomposed letter is not the same as a letter with an accent.
  @Test func stringsAreComparedByCodePoint() throws {
    let template = try ChatTemplate(
      source: "{{ a == b }}{{ a in b }}{{ {a: 1}[b] is defined }}{{ [a, b]|unique|list|length }}")
    #expect(try template.render([("a", .string("\u{E9}")), ("b", .string("e\u{301}"))]) == "FalseFalseFalse2")
  }

  @Test func theDate() throws {
    let template = try ChatTemplate(
      source: "{{ strftime_now('%Y') }}|{{ strftime_now('%B %m') }}|{{ strftime_now('') }}")
    // The middle of July 2024, whatever the time zone.
    #expect(try template.render([], now: 1_721_044_800) == "2024|July 07|")
    #expect(try template.render([]).count > 4)
  }

  @Test func templatesOfAModel() throws {
    let none = try files(["tokenizer_config.json": [:]])
    #expect(none.chatTemplates.isEmpty)
    #expect { try none.chatTemplate() } throws: { ($0 as? Problem)?.code == .chatTemplateMissing }

    let named = try files([
      "tokenizer_config.json": [
        "chat_template": [["name": "tool_use", "template": "tools"], ["name": "default", "template": "plain"]]
      ]
    ])
    #expect(try named.chatTemplate().render(messages: hello) == "plain")
    #expect(try named.chatTemplate(forTools: true).render(messages: hello) == "tools")
    #expect(try named.chatTemplate(named: "tool_use").render(messages: hello) == "tools")
    #expect {
      try named.chatTemplate(named: "rag")
    } throws: {
      ($0 as? Problem)?.remedy == "It has default, tool_use."
    }

    let inFiles = try TokenizerFiles(files: [
      "tokenizer_config.json": Array(#"{"chat_template":"old"}"#.utf8), "chat_template.jinja": Array("new".utf8),
      "additional_chat_templates/rag.jinja": Array("rag".utf8),
    ])
    #expect(inFiles.chatTemplates == ["default": "new", "rag": "rag"])
    #expect(try inFiles.chatTemplate(forTools: true).render(messages: hello) == "new")
    let legacy = try files(["chat_template.json": ["chat_template": "legacy"]])
    #expect(legacy.chatTemplates == ["default": "legacy"])
  }

  @Test func specialTokensOfAModel() throws {
    let model = try files([
      "tokenizer_config.json": [
        "bos_token": "<s>", "eos_token": ["content": "</s>"], "pad_token": nil, "add_bos_token": true,
      ],
      "special_tokens_map.json": ["bos_token": "<other>", "unk_token": "<unk>"],
    ])
    #expect(model.specialTokenVariables == ["bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"])
  }

  /// The templates that recipes can name.
  @Test func builtInTemplates() throws {
    let chat: JSON = [
      ["role": "system", "content": "be"], ["role": "user", "content": "hi"], ["role": "assistant", "content": "yo"],
    ]
    let expected = [
      "alpaca": "<s>be\n\n### Instruction:\nhi\n\n### Response:\nyo</s>\n\n### Response:\n",
      "chatml":
        "<|im_start|>system\nbe<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>\n"
        + "<|im_start|>assistant\n",
      "exaone": "[|system|]be[|endofturn|]\n[|user|]hi\n[|assistant|]yo[|endofturn|]\n[|assistant|]",
      "llama3":
        "<s><|start_header_id|>system<|end_header_id|>\n\nbe<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nhi"
        + "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nyo<|eot_id|>"
        + "<|start_header_id|>assistant<|end_header_id|>\n\n",
      "mistral": "<s>[INST] be\n\nhi [/INST] yo</s>",
    ]
    #expect(Set(expected.keys) == Set(builtInChatTemplates.keys))
    for (name, text) in expected {
      let template = try ChatTemplate(source: try #require(builtInChatTemplates[name]))
      let made = try template.render(
        messages: chat, addGenerationPrompt: true, specialTokens: ["bos_token": "<s>", "eos_token": "</s>"])
      #expect(made == text, "\(name)")
    }
  }
}
