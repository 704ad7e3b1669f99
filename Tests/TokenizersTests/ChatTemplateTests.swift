import EspalierBasics
import EspalierTokenizers
import TestSupport
import Testing

@Suite struct ChatTemplateTests {
  private func withTemplate(_ template: String?) throws -> TokenizerFiles {
    try files(["tokenizer_config.json": template.map { ["chat_template": .string($0)] } ?? [:]])
  }

  @Test func templatesAreFoundWhereverTheyAre() throws {
    #expect(try withTemplate("{{a}}").chatTemplate == "{{a}}")
    #expect(try withTemplate(nil).chatTemplate == nil)
    let named: JSON = [
      "chat_template": [["name": "tool_use", "template": "{{t}}"], ["name": "default", "template": "{{d}}"]]
    ]
    #expect(try files(["tokenizer_config.json": named]).chatTemplate == "{{d}}")
    let both = try TokenizerFiles(files: [
      "tokenizer_config.json": Array(#"{"chat_template":"{{old}}"}"#.utf8),
      "chat_template.jinja": Array("{{new}}".utf8),
    ])
    #expect(both.chatTemplate == "{{new}}")
  }

  @Test func templatesAreWrittenWhereTheyWere() throws {
    var inConfiguration = try withTemplate("{{a}}")
    inConfiguration.chatTemplate = "{{b}}"
    #expect(inConfiguration.configuration == ["chat_template": "{{b}}"])
    #expect(inConfiguration.contents["chat_template.jinja"] == nil)
    let reread = try TokenizerFiles(files: inConfiguration.contents)
    #expect(reread.chatTemplate == "{{b}}")

    let file = ["chat_template.jinja": Array("{{a}}".utf8), "tokenizer_config.json": Array("{ }".utf8)]
    var inFile = try TokenizerFiles(files: file)
    inFile.chatTemplate = "{{b}}"
    #expect(inFile.contents["chat_template.jinja"] == Array("{{b}}".utf8))
    #expect(inFile.contents["tokenizer_config.json"] == Array("{ }".utf8))

    let named: JSON = ["chat_template": [["name": "tool_use", "template": "{{t}}"]]]
    var inList = try files(["tokenizer_config.json": named])
    inList.chatTemplate = "{{b}}"
    #expect(inList.chatTemplate == "{{b}}")
    #expect(inList.configuration?["chat_template"]?.array?.count == 2)
    inList.chatTemplate = nil
    #expect(inList.configuration == named)
  }

  @Test func autoIsTheMostFrequent() throws {
    let inputs = try ["{{a}}", "{{b}}", nil, "{{b}}\n", ""].map(withTemplate)
    #expect(ChatTemplateChoice.auto.template(among: inputs) == "{{b}}")
    #expect(ChatTemplateChoice.auto.template(among: Array(inputs.prefix(2))) == "{{a}}")
    #expect(try ChatTemplateChoice.auto.template(among: [withTemplate(nil)]) == nil)
  }

  @Test func namesAndTextsAreToldApart() throws {
    #expect(try ChatTemplateChoice("auto") == .auto)
    #expect(try ChatTemplateChoice("{{ messages }}") == .literal("{{ messages }}"))
    for name in ["alpaca", "chatml", "exaone", "llama3", "mistral"] {
      let choice = try ChatTemplateChoice(name)
      #expect(choice == .builtIn(name))
      let template = try #require(choice.template(among: []))
      #expect(template.contains("messages"))
      #expect(template.components(of: "{%") == template.components(of: "%}"))
      #expect(template.components(of: "{{") == template.components(of: "}}"))
    }
    let found = problems { try ChatTemplateChoice("chatmal") }
    #expect(found.map(\.code) == [.chatTemplateUnknown])
    #expect(found.first?.remedy == "known are auto, alpaca, chatml, exaone, llama3, mistral; or give Jinja text")
  }
}

extension String {
  fileprivate func components(of mark: String) -> Int { split(separator: mark, omittingEmptySubsequences: false).count }
}

@Suite struct TokenizerConflictTests {
  private func codes(_ models: [TokenizedModel], realigned: Bool) -> [Problem.Code] {
    tokenizerConflicts(among: models, keeping: 0, realigned: realigned).map(\.code)
  }

  @Test func equalTokenizersHaveNone() throws {
    let models = try [model("m", ["a", "b"]), model("n", ["a", "b"])]
    #expect(codes(models, realigned: false).isEmpty)
  }

  @Test func aLargerVocabularyIsNoConflictOfIDs() throws {
    #expect(codes([try model("m", ["a", "b"]), try model("n", ["a", "b", "c"])], realigned: false).isEmpty)
  }

  @Test func idsMatterOnlyWithoutRealignment() throws {
    let models = try [model("m", ["a", "b", "c"]), model("n", ["a", "c", "b"])]
    let found = tokenizerConflicts(among: models, keeping: 0, realigned: false)
    #expect(found.map(\.code) == [.tokenizerIDsDiffer])
    #expect(
      found.first?.message
        == #"2 ids mean different tokens in n and m, e.g. 1: "c" and "b"; their rows are merged as if they were the same"#
    )
    #expect(codes(models, realigned: true).isEmpty)
  }

  @Test func specialTokensAndTemplates() throws {
    let one: JSON = ["eos_token": "a", "bos_token": "b", "chat_template": "{{a}}"]
    let other: JSON = ["eos_token": ["content": "b"], "chat_template": "{{b}}"]
    let models = try [
      model("m", ["a", "b"], configuration: one), model("n", ["a", "b"], configuration: other),
    ]
    #expect(codes(models, realigned: true) == [.tokenizerSpecialTokensDiffer, .chatTemplatesDiffer])
    #expect(tokenizerConflicts(among: models, keeping: 0, realigned: true).allSatisfy { $0.severity == .warning })
  }
}
