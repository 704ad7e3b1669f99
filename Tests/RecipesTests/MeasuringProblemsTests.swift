import EspalierBasics
import EspalierEvaluation
import EspalierExecution
import EspalierLinearMaps
import EspalierRecipes
import TestSupport
import Testing

/// What is wrong with what models are to be measured on, said before any is run.
@Suite struct MeasuringProblemsTests {
  @Test func theProblemsOfAllFilesAreTold() throws {
    try withTemporaryFolder { folder in
      func write(_ name: String, _ bytes: [UInt8]) throws -> String {
        try FileSystem.write(bytes, to: "\(folder)/\(name)")
        return "\(folder)/\(name)"
      }
      let choices = try write("choices.jsonl", Array("{\"context\": 1}\n{}\n".utf8))
      let empty = try write("empty.txt", Array("\n\r\n".utf8))
      let damaged = try write("damaged.txt", [0x61, 0xFF, 0x0A])
      let missing = "\(folder)/missing.jsonl"
      let found = problems {
        try EvaluationData(
          texts: [damaged], choices: [choices], answers: [missing], classified: [empty], sentences: [empty, damaged])
      }
      #expect(
        found.map { "\($0.code) \(FileSystem.lastComponent(of: $0.context.file ?? ""))" } == [
          "evaluation.data damaged.txt", "evaluation.data choices.jsonl", "evaluation.data choices.jsonl",
          "file.missing missing.jsonl", "evaluation.data empty.txt", "evaluation.data empty.txt",
          "evaluation.data damaged.txt",
        ])
      #expect(found.dropFirst().prefix(2).map { $0.message.prefix(7) } == ["line 1:", "line 2:"])
      #expect(found.last?.message == "the text is not valid UTF-8")
    }
  }

  @Test func sentencesAreLines() throws {
    try withTemporaryFolder { folder in
      try FileSystem.write(Array("one\r\n\ntwo \n".utf8), to: "\(folder)/s.txt")
      let data = try EvaluationData(sentences: ["\(folder)/s.txt"])
      #expect(data.sentences.map(\.texts) == [["one", "two "]] && data.needsEncoder && !data.needsLanguageModel)
    }
  }

  private func search(_ recipe: String, _ place: Workplace, text: String? = "one two") throws -> MergeSearch {
    try FileSystem.write(Array(recipe.utf8), to: place.path("recipe.yml"))
    var data = try EvaluationData()
    if let text { data.texts = [TextSet(name: "t", documents: [.init(name: "t", text: text)])] }
    let pool = WorkerPool(threads: 1)
    let run = RunOptions(mode: .exact, pool: pool, memory: 1 << 30, families: [])
    return try MergeSearch(
      recipeAt: place.path("recipe.yml"), options: place.options,
      evaluation: ModelEvaluation(
        data: data, cut: TextProtocol(.windows(length: 8)), run: run, listener: SilentListener()))
  }

  private let closed = "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]"
  private let open = """
    merge_method: linear
    search: {w: [0.2, 0.4]}
    models: [{model: a, parameters: {weight: $w}}]
    """

  @Test func searchesThatCannotBeginSayWhy() throws {
    try Workplace.with(["a": TinyLlama(value: 1)]) { place in
      let nothing = problems { try search(closed, place) }
      #expect(nothing.map(\.message) == ["the recipe has nothing to search"])
      let untold = problems { try search(open, place, text: nil) }
      #expect(untold.map(\.message) == ["there is no text to measure candidates on"])
      #expect((nothing + untold).allSatisfy { $0.code.rawValue == "recipe.search" })
      #expect(problems { try search(open, place) }.isEmpty)
    }
  }

  /// Candidates are merged beside the output, and what is there already may be the user's.
  @Test func aFolderThatStandsWhereCandidatesGoStays() throws {
    try Workplace.with(["a": TinyLlama(value: 1)]) { place in
      let mine = place.options.output + ".trial/mine"
      try FileSystem.createParents(of: mine)
      try FileSystem.write([1], to: mine)
      let found = problems { try search(open, place).run(listener: SilentListener()) { _ in } }
      #expect(found.map(\.code) == [.outputExists] && found.first?.context.file == place.options.output + ".trial")
      #expect(try FileSystem.read(mine) == [1])
    }
  }
}
