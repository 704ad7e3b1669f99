internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierRestructuring

/// A step that brings the model so far into the order of another.
struct AlignmentStep: Sendable {
  /// What it is aligned to.
  enum Reference: Sendable {
    /// The model that the recipe begins with, or that its first merge made.
    case original
    case model(ModelReference)
  }

  var reference: Reference
  var agreement = AlignmentRequest.Agreement.weights
  var options = AlignmentOptions()
  var text: [StepFile] = []
  var sequences = 32
  var length: Int?
  var seed: UInt64?
}

/// An alignment of which everything is known but the order.
struct PlannedAlignment {
  var model: StepModel
  var reference: StepModel
  var request: AlignmentRequest
  /// The model written as it is: what is written has the same shapes.
  var conversion: MergePlan
  /// Texts that are read.
  var files: [String]

  var lines: [String] { ["\(model.name) to \(reference.name)", request.line] + files.map { "on \($0)" } }
}

extension RecipeReader {
  /// What `align:` takes.
  mutating func alignment(_ node: RecipeNode, line: Int) -> AlignmentStep? {
    let known = [
      "to", "by", "weigh", "keep", "restarts", "restart_seed", "sweeps", "text", "sequences", "length", "seed",
    ]
    guard checkKeys(node, known: known, of: "align") else { return nil }
    let before = problems.errors.count
    guard let to = node["to"] else {
      complain(.recipeValue, "align needs `to`, the model that is aligned to", line: line)
      return nil
    }
    let reference: AlignmentStep.Reference?
    switch to.text {
    case "original": reference = .original
    default: reference = self.reference(to).map { .model($0) }
    }
    guard let reference else { return nil }
    var step = AlignmentStep(reference: reference)
    step.agreement = choice(node, "by", AlignmentRequest.Agreement.self) ?? .weights
    step.options.weighing = choice(node, "weigh", AlignmentOptions.Weighing.self) ?? .balanced
    step.options.keeping = Set(words(node, "keep").map(\.path))
    step.options.restarts = natural(node, "restarts") ?? 0
    step.options.seed = natural(node, "restart_seed").map { UInt64($0) } ?? 0
    step.options.sweeps = natural(node, "sweeps") ?? step.options.sweeps
    step.text = words(node, "text")
    step.sequences = natural(node, "sequences", from: 1) ?? step.sequences
    step.length = natural(node, "length", from: 1)
    step.seed = natural(node, "seed").map { UInt64($0) }
    if step.agreement == .activations, step.text.isEmpty, problems.errors.count == before {
      complain(.recipeValue, "activations are compared on text", remedy: "Give text.", line: line)
    }
    if step.agreement == .weights, let text = node["text"] {
      complain(.recipeValue, "text is for `by: activations`", line: text.line)
    }
    return problems.errors.count == before ? step : nil
  }
}

extension StepsPlanner {
  func align(_ step: AlignmentStep, _ index: Int, _ models: StepModels) throws(Problems) -> PlannedAlignment {
    guard let current = models.current else { throw Problems([noModel]) }
    var problems = Problems()
    let text = locate(step.text, &problems)
    var reference: StepModel?
    do throws(Problems) {
      switch step.reference {
      case .original: reference = models.original
      case .model(let named):
        reference = StepModel(name: named.key, checkpoint: try open(named))
      }
    } catch { problems.all += error.all }
    guard problems.all.isEmpty, let reference else { throw problems.all.isEmpty ? Problems([noModel]) : problems }
    var request = AlignmentRequest(by: step.agreement, options: step.options)
    if !text.isEmpty {
      request.text = try CalibrationText(
        text, for: current.checkpoint, sequences: step.sequences, length: step.length, seed: step.seed)
    }
    let conversion = try Conversion.plan(
      of: current.name, elementType: nil, options: writing(index),
      given: [ExactString(current.name): current.checkpoint])
    do throws(Problem) {
      try AlignmentRun.check(current.checkpoint, to: reference.checkpoint, request, run: run)
    } catch { throw Problems([error]) }
    return PlannedAlignment(
      model: current, reference: reference, request: request, conversion: conversion, files: text)
  }
}

extension PlannedAlignment {
  func execute(run: RunOptions, listener: any ProgressListener) throws(Problem) -> AlignmentReport {
    let aligned = try AlignmentRun.align(
      model.checkpoint, to: reference.checkpoint, request, run: run, listener: listener)
    return try AlignmentRun.write(
      aligned, of: model.name, to: reference.name, request, writing: conversion.options, evaluation: nil,
      listener: listener)
  }
}
