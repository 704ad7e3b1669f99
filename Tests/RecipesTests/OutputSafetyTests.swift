import EspalierBasics
import EspalierExecution
import EspalierRecipes
import Synchronization
import TestSupport
import Testing

/// Nothing of the user's is written over or removed, and what stands in the way is said before any work.
@Suite struct OutputSafetyTests {
  private let stagedRecipe = """
    merge_method: linear
    models: [{model: half, parameters: {weight: 1}}, {model: b, parameters: {weight: 1}}]
    ---
    name: half
    merge_method: passthrough
    models: [{model: a}]
    """

  private func withModels(_ body: (inout Workplace) throws -> Void) throws {
    try Workplace.with(["a": TinyLlama(value: 1), "b": TinyLlama(value: 3)], body)
  }

  // MARK: - Inputs

  @Test func anInputIsNotReplaced() throws {
    try withModels { place in
      let recipe = "merge_method: passthrough\nmodels: [{model: a}]"
      try place.run(recipe)
      place.options.policy = .init(force: true)
      try FileSystem.createFolder(place.path("above"))
      try TinyLlama().write(to: place.path("above/in"))
      for (model, output) in [("out", "out"), ("out", "out/deeper"), ("above/in", "above"), ("above/in", "above/./in")]
      {
        place.options.output = place.path(output)
        let codes = problems { try place.plan(recipe.replacing("a}", with: "\(model)}")) }.map(\.code.rawValue)
        #expect(codes.contains("output.input"), "\(model) into \(output)")
      }
      place.options.output = place.path("outside")
      try place.run(recipe.replacing("a}", with: "out}"))
    }
  }

  @Test func anInputThatChangesMeanwhileIsNoticed() throws {
    try withModels { place in
      let weights = place.path("a/model.safetensors")
      let pipeline = try place.plan("merge_method: passthrough\nmodels: [{model: a}]")
      let found = problems { try pipeline.run(listener: Lengthener(weights)) }
      #expect(found.map(\.code) == [.inputChanged] && found.first?.context.file == weights)
      #expect(FileSystem.kind(place.options.output) == nil)
    }
  }

  @Test func anInputOfALaterDocumentIsNotReplaced() throws {
    try withModels { place in
      place.options.output = place.path("b")
      place.options.policy = .init(force: true)
      let codes = problems { try place.plan(stagedRecipe) }.map(\.code.rawValue)
      #expect(codes == ["output.exists", "output.input"])
    }
  }

  // MARK: - Stages

  @Test func laterDocumentsAreCheckedBefore() throws {
    try withModels { place in
      try FileSystem.createFolder(place.options.output)
      let found = problems { try place.plan(stagedRecipe.replacing("model: b", with: "model: c")) }
      #expect(found.map(\.code.rawValue) == ["output.exists", "checkpoint.missing"])
      #expect(found.last?.context.recipeLine == 2)
    }
  }

  @Test func otherFilesAmongStagesStay() throws {
    try withModels { place in
      let mine = place.options.output + ".stages/mine"
      try FileSystem.createParents(of: mine)
      try FileSystem.write([1], to: mine)
      try place.run(stagedRecipe)
      #expect(try FileSystem.list(place.options.output + ".stages") == ["mine"])
    }
  }

  /// A stopped run of several documents goes on where it was: the finished stage and the tensors of the last document
  /// are kept.
  @Test func finishedStagesAreKept() throws {
    try withModels { place in
      try stopAtTheEnd(place)
      let codes = problems { try place.plan(stagedRecipe) }.map(\.code.rawValue)
      #expect(codes == ["output.partial", "output.exists"])
      place.options.policy = .init(resume: true)

      var other = place
      other.options.seed = 7
      #expect(problems { try other.run(stagedRecipe) }.first?.message.hasSuffix("changed since: seed") == true)

      let report = try place.plan(stagedRecipe).run(listener: SilentListener())
      #expect(report.figures.kept == 21)
      #expect(try OutputModel(place.options.output).first("model.norm.weight") == 2)
      #expect(FileSystem.kind(place.options.output + ".stages") == nil)
    }
  }

  @Test func aDamagedStageIsNotUsed() throws {
    try withModels { place in
      try stopAtTheEnd(place)
      let config = place.options.output + ".stages/half/config.json"
      try FileSystem.write(try FileSystem.read(config) + [UInt8(ascii: " ")], to: config)
      place.options.policy = .init(resume: true)
      #expect(problems { try place.run(stagedRecipe) }.map(\.code.rawValue) == ["verify.mismatch"])
      place.options.policy = .init(force: true)
      #expect(try place.run(stagedRecipe).first("model.norm.weight") == 2)
    }
  }

  /// Runs the recipe until the output would get its name, which something takes meanwhile.
  private func stopAtTheEnd(_ place: Workplace) throws {
    let squatter = Squatter(place.options.output)
    let found = problems { try place.plan(stagedRecipe).run(listener: squatter) }
    try #require(found.map(\.code.rawValue) == ["file.write"])
    try FileSystem.remove(place.options.output)
  }
}

/// Takes the name of the output when the second document begins.
private final class Squatter: ProgressListener {
  private let path: String
  private let begun = Mutex(0)

  init(_ path: String) { self.path = path }

  func receive(_ event: ProgressEvent) {
    guard case .began = event else { return }
    let count = begun.withLock { count in
      count += 1
      return count
    }
    guard count == 2 else { return }
    try? FileSystem.createFolder(path)
    try? FileSystem.write([1], to: "\(path)/squatter")
  }
}

/// Makes a file longer when work on it begins.
private struct Lengthener: ProgressListener {
  var path: String

  init(_ path: String) { self.path = path }

  func receive(_ event: ProgressEvent) {
    guard case .began = event, let file = try? File.writing(path), let size = try? file.size() else { return }
    try? file.write([0], at: size)
  }
}
