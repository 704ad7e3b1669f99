import EspalierBasics
import Foundation
import Testing

@testable import EspalierTokenizers

/// Templates against what jinja2 makes of them.
@Suite struct TemplatesTests {
  /// Small templates, each with one thing in it: values, operators, filters, white space, errors.
  @Test(arguments: ["templates-micro.json", "templates.json"])
  func smallTemplates(file: String) throws {
    let golden = try JSON(parsing: fixture(file))
    let variables = try #require(golden["context"]?.members).pairs.map { ($0.key, Jinja.Value($0.value)) }
    let cases = try #require(golden["cases"]?.array)
    #expect(cases.count > 30)
    for entry in cases {
      let template = try #require(entry["template"]?.string)
      let result = Result { () throws(Problem) in try ChatTemplate(source: template).render(variables) }
      if let expected = entry["expected"]?.string {
        switch result {
        case .success(let text): #expect(ExactString(text) == ExactString(expected), "\(template)")
        case .failure(let problem): Issue.record("\(template): \(problem)")
        }
      } else if case .success(let text) = result {
        Issue.record("\(template) gives \"\(text)\" but should fail with \(entry["error"]?.string ?? "")")
      }
    }
  }

  /// Templates of published models, which belong to their vendors: the folder of goldens is named by
  /// ESPALIER_GOLDENS.
  @Test(.enabled(if: goldens != nil, "needs ESPALIER_GOLDENS, the folder of the vendors' templates"))
  func publishedTemplates() throws {
    let folder = try #require(goldens) + "/chat"
    let cases = try #require(JSON(parsing: FileSystem.read(folder + "/chat.json"))["cases"]?.array)
    #expect(!cases.isEmpty)
    for entry in cases {
      let name = try #require(entry["template"]?.string)
      let source = String(decoding: try FileSystem.read("\(folder)/templates/\(name).jinja"), as: UTF8.self)
      try check(entry, ChatTemplate(source: source))
    }
  }

  @Test func chatML() throws {
    let cases = try #require(JSON(parsing: fixture("templates-chatml.json"))["cases"]?.array)
    let source = String(decoding: try fixture("templates-chatml.jinja"), as: UTF8.self)
    #expect(cases.count == 15)
    for entry in cases { try check(entry, ChatTemplate(source: source)) }
  }

  private func check(_ entry: JSON, _ template: ChatTemplate) throws {
    var tokens: [String: String] = [:]
    for name in ["bos_token", "eos_token"] { tokens[name] = entry[name]?.string }
    let options = Dictionary(uniqueKeysWithValues: try #require(entry["extra_kwargs"]?.members).pairs)
    let comment = Comment(rawValue: "\(entry["template"]?.string ?? "") \(entry["conversation"]?.string ?? "")")
    let result = Result { () throws(Problem) in
      try template.render(
        messages: entry["messages"] ?? [], tools: entry["tools"],
        addGenerationPrompt: entry["add_generation_prompt"]?.bool ?? false, specialTokens: tokens, options: options)
    }
    switch result {
    case .success(let text): #expect(entry["expected"]?.string.map { ExactString($0) } == ExactString(text), comment)
    case .failure(let problem):
      #expect(entry["error"] != nil, "\(comment): \(problem)")
      #expect(problem.code == .chatTemplateRefused, comment)
      let words = try #require(entry["error_message"]?.string)
      #expect(problem.message.hasSuffix(words), comment)
    }
  }
}

/// The folder of expected results that cannot be kept with the tests.
let goldens = ProcessInfo.processInfo.environment["ESPALIER_GOLDENS"]
