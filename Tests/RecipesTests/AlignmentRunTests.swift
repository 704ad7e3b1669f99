import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierEvaluation
import EspalierExecution
import EspalierNumerics
import EspalierRestructuring
import TestSupport
import Testing

@testable import EspalierRecipes

/// Alignment from files to files, on a reordered copy of `Models/base`.
@Suite struct AlignmentRunTests {
  private static let base = "\(StepsPlace.models)/base"

  /// Writes the base with its channels in another order.
  private func plant(_ place: StepsPlace) throws -> String {
    let original = try SafetensorsCheckpoint(at: Self.base)
    let config = try #require(original.config)
    let family = try #require(Architecture.recognise(config: config, among: Architecture.builtIn()))
    var generator = SeededGenerator(seed: 5)
    var change = StructuralChange()
    for axis in try family.describe(config: config).axes where axis.name == "hidden" || axis.name == "inner" {
      change.choices[axis.instance] = AxisChoice((0..<axis.size).shuffled(using: &generator))
    }
    let planted = try RestructuredCheckpoint(original, of: family, change: change)
    var options = place.options
    options.output = "\(place.folder)/planted"
    let plan = try Conversion.plan(
      of: Self.base, elementType: nil, options: options, given: [ExactString(Self.base): planted])
    _ = try MergeRun.execute(plan, listener: SilentListener())
    return options.output
  }

  private func plan(
    _ place: StepsPlace, _ planted: String, text: Bool = false
  ) throws -> AlignmentPlan {
    let checkpoint = try SafetensorsCheckpoint(at: planted)
    var request = AlignmentRequest(to: try SafetensorsCheckpoint(at: Self.base), named: Self.base)
    request.comparesSingularVectors = false
    if text {
      request.text = try CalibrationText(
        [StepsPlace.text], for: checkpoint, sequences: 4, length: 128, seed: nil)
    }
    return try AlignmentPlan(request, of: planted, checkpoint: checkpoint, run: place.run, writing: place.options)
  }

  private func barrier(_ place: StepsPlace, to second: String) throws -> LinearPath {
    let run = try BarrierRun(
      from: try SafetensorsCheckpoint(at: Self.base), named: "base",
      to: try SafetensorsCheckpoint(at: second), named: "copy",
      on: try EvaluationData(texts: [StepsPlace.test]), cut: TextProtocol(.windows(length: 64), limit: 4),
      points: 3, run: place.run, listener: SilentListener())
    return try #require(try run.execute().first)
  }

  @Test(arguments: [false, true])
  func aPlantedOrderAndItsBarrierAreUndone(byActivations: Bool) throws {
    try StepsPlace.with { place in
      let planted = try plant(place)
      #expect(try barrier(place, to: planted).highest.rise.value > 1)
      let report = try AlignmentRun.execute(try plan(place, planted, text: byActivations), listener: SilentListener())
      #expect(report.alignment.after.cosine > 1 - 1e-9 && report.alignment.before.cosine < 0.9)
      #expect((report.rows != nil) == byActivations)
      #expect(try place.weights(place.output) != (try place.weights(planted)))
      let (one, other) = (try OutputModel(place.output), try OutputModel(Self.base))
      for name in other.names { #expect(one.bytes[name] == other.bytes[name], "\(name)") }
      let after = try barrier(place, to: place.output)
      #expect(after.points.allSatisfy { $0.loss.value == after.points[0].loss.value && $0.rise.value <= 0 })
      #expect(after.keeps(0, strict: true))
    }
  }

  @Test func anOutputIsWholeAndNotReplaced() throws {
    try StepsPlace.with { place in
      let planted = try plant(place)
      _ = try AlignmentRun.execute(try plan(place, planted), listener: SilentListener())
      let again = problems { try plan(place, planted) }
      #expect(again.first?.code == .outputExists)
      let verified = try Verification.verify(place.output, threads: 2, listener: SilentListener())
      #expect(verified.problems.isEmpty)
    }
  }

  @Test func aLowCeilingIsRefused() throws {
    try StepsPlace.with { place in
      var place = place
      place.run.memory = 50 << 20
      let problem = problem { try plan(place, Self.base) }
      #expect(problem?.code == .memoryCeiling)
      #expect(problem?.message.hasPrefix("matching takes ") == true, "\(String(describing: problem))")
    }
  }

  // MARK: - Several to their mean

  @Test func severalAreBroughtIntoOneOrder() throws {
    try StepsPlace.with { place in
      let planted = try plant(place)
      func plan(_ resume: Bool = false) throws -> MeanAlignmentPlan {
        let models = try [planted, Self.base].map { name in
          var writing = place.options
          writing.output += "/" + FileSystem.lastComponent(of: name)
          writing.policy.resume = resume
          return (name, try SafetensorsCheckpoint(at: name) as any Checkpoint, writing)
        }
        return try MeanAlignmentPlan(models, options: AlignmentOptions(), run: place.run)
      }
      let reports = try MeanAlignmentRun.execute(try plan(), listener: SilentListener())
      #expect(reports.count == 2 && reports.allSatisfy { $0.alignment.after.cosine > 1 - 1e-6 })
      let (one, other) = (try OutputModel("\(place.output)/planted"), try OutputModel("\(place.output)/base"))
      for name in other.names { #expect(one.bytes[name] == other.bytes[name], "\(name)") }
      let json = try JSON(parsing: try FileSystem.read("\(place.output)/base/report.json"))
      #expect(json["reference"]?.string == "the mean of the others")
      // What is whole is not written again, and not replaced without being asked.
      #expect(problems { try plan() }.allSatisfy { $0.code == .outputExists })
      let resumed = try MeanAlignmentRun.execute(try plan(true), listener: SilentListener())
      #expect(resumed.allSatisfy { $0.written == nil })
    }
  }

  // MARK: - Models that look alike

  /// A copy of the base in which files are changed.
  private func copy(
    _ place: StepsPlace, as copyName: String = "copy", _ changing: [String: (inout JSON) -> Void]
  ) throws -> String {
    let folder = "\(place.folder)/\(copyName)"
    try FileSystem.createFolder(folder)
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
      var bytes = try FileSystem.read("\(Self.base)/\(name)")
      if let change = changing[name] {
        var json = try JSON(parsing: bytes)
        change(&json)
        bytes = json.bytes()
      }
      try FileSystem.write(bytes, to: "\(folder)/\(name)")
    }
    return folder
  }

  @Test func modelsThatComputeDifferentlyHaveNoLine() throws {
    try StepsPlace.with { place in
      let other = try copy(
        place,
        [
          "config.json": {
            $0["rms_norm_eps"] = .number(0.5)
            $0["rope_theta"] = .number(77)
          }
        ])
      let told = problems { try barrier(place, to: other) }.map(\.message)
      #expect(told.count == 2 && told.allSatisfy { $0.contains("which compute differently: ") }, "\(told)")
      #expect(told.contains { $0.contains("`epsilon` of `rmsNorm` is ") && $0.contains("0.5 in the other") }, "\(told)")
      #expect(told.contains { $0.contains("77.0 in the other") }, "\(told)")
      let warnings = try plan(place, other).warnings.map(\.message)
      #expect(warnings.count { $0.hasPrefix("the models compute differently: ") } == 2, "\(warnings)")
      // A name or a date is no difference.
      let same = try copy(
        place, as: "same",
        [
          "config.json": {
            $0["transformers_version"] = "0"
            $0["use_cache"] = .bool(false)
          }
        ])
      #expect(try barrier(place, to: same).highest.rise.value <= 0)
    }
  }

  @Test func aRareTokenIsATokenToo() throws {
    try StepsPlace.with { place in
      let path = try copy(
        place,
        [
          "tokenizer.json": { json in
            let (q, z) = (json["model"]?["vocab"]?["Q"] ?? .null, json["model"]?["vocab"]?["Z"] ?? .null)
            var model = json["model"] ?? .null
            var vocabulary = model["vocab"] ?? .null
            (vocabulary["Q"], vocabulary["Z"]) = (z, q)
            model["vocab"] = vocabulary
            json["model"] = model
          }
        ])
      let (base, other) = (try SafetensorsCheckpoint(at: Self.base), try SafetensorsCheckpoint(at: path))
      let common = String(repeating: "the ", count: 5000)
      try SharedTokens.check(base, other, on: [common])
      let problem = problem { try SharedTokens.check(base, other, on: [common, common + "Q"]) }
      #expect(problem?.message.hasPrefix("the models cut the text into other tokens") == true)
      #expect(!SharedTokens.vocabulariesDiffer(base, base) && SharedTokens.vocabulariesDiffer(base, other))
      #expect(try plan(place, path).warnings.contains { $0.message.contains("matched by number, not by token") })
    }
  }

  // MARK: - A step

  private func recipe(_ planted: String, _ more: String = "") -> String {
    """
    model: \(planted)
    steps:
      - align: {to: \(Self.base), singular_vectors: false\(more)}
      - merge:
          merge_method: linear
          models:
            - {model: current, parameters: {weight: 1}}
            - {model: \(Self.base), parameters: {weight: 1}}
          dtype: bfloat16

    """
  }

  @Test func anAlignedCopyMergedWithTheModelIsTheModel() throws {
    try StepsPlace.with { place in
      let planted = try plant(place)
      let report = try place.execute(recipe(planted, ", text: \(StepsPlace.text), sequences: 4, length: 128"))
      #expect(report.entries.map(\.verb) == ["align", "merge"])
      let (one, other) = (try OutputModel(place.output), try OutputModel(Self.base))
      for name in other.names { #expect(one.bytes[name] == other.bytes[name], "\(name)") }
      let json = try JSON(parsing: try FileSystem.read("\(place.output)/report.json"))
      #expect(json["steps"]?.array?.first?["report"]?["espalier_alignment"]?.integer == 1)
    }
  }

  @Test(
    arguments: [
      ("model: m\nsteps:\n  - align: {text: t}\n", "align needs `to`, the model that sets the order", 3),
      ("model: m\nsteps:\n  - align: {to: n, weighing: even}\n", "weighing must be balanced or plain", 3),
      (
        "model: m\nsteps:\n  - align: {to: original}\n",
        "the model is the one that the recipe begins with: it lies in its own order", 3
      ),
      ("steps:\n  - align: {to: n}\n", "the recipe names no model for its first step", 1),
      (
        "model: m\nsteps:\n  - align:\n      to: n\n      length: 4\n",
        "length is of text, by which channels are matched; there is none", 5
      ),
    ])
  func whatAStepCannotMeanIsRefused(_ text: String, _ message: String, _ line: Int) throws {
    var warnings: [Problem] = []
    do {
      _ = try StepsRecipe.read(text, file: "steps.yml", warnings: &warnings)
      Issue.record("was read")
    } catch {
      #expect(error.all.contains { $0.message == message && $0.context.recipeLine == line }, "\(error.all)")
    }
  }
}
