public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierMerging
internal import EspalierNumerics

/// What a plan looks like to a person and to a program.
enum PlanText {
  static func text(_ plan: MergePlan, later: [Recipe]) -> String {
    var lines = ["method    \(plan.recipe.method)"]
    for (index, model) in plan.models.enumerated() {
      let base = model.reference.key == plan.recipe.base?.key ? " (base)" : ""
      lines.append(
        (index == 0 ? "models    " : "          ")
          + "\(model.reference.key)\(base): \(model.family ?? "unknown family"), "
          + "\(model.checkpoint.parameters.count) tensors, \(ByteCount.text(storedBytes(of: model)))")
    }
    for (index, file) in plan.layout.files.enumerated() {
      lines.append(
        (index == 0 ? "writes    " : "          ")
          + "\(plan.options.output)/\(file.name), \(ByteCount.text(file.byteCount))")
    }
    lines.append("moves     \(ByteCount.text(plan.movedBytes)) in \(plan.jobs.count) jobs")
    lines.append(
      "memory    at most \(ByteCount.text(plan.memory.predictedPeak)) of \(ByteCount.text(plan.options.memory)), "
        + "\(plan.memory.threads) threads")
    lines.append("seed      \(plan.options.seed)")
    for (index, (text, count)) in operations(plan).enumerated() {
      lines.append((index == 0 ? "tensors   " : "          ") + "\(count) by \(text)")
    }
    if !plan.unknownTensors.isEmpty {
      lines.append(
        "unnamed   \(plan.unknownTensors.count) tensors that the family's description does not name, merged like the others:"
      )
      lines += plan.unknownTensors.prefix(10).map { "          \($0)" }
      if plan.unknownTensors.count > 10 { lines.append("          and \(plan.unknownTensors.count - 10) more") }
    }
    for recipe in later { lines.append("then      \(recipe.method)\(recipe.name.map { " into \($0)" } ?? "")") }
    return lines.joined(separator: "\n")
  }

  /// Bytes of a model's weights as they lie in its files.
  static func storedBytes(of model: MergePlan.Model) -> Int {
    Set(model.checkpoint.parameters.flatMap(\.recipe.storedTensors)).reduce(0) { $0 + $1.byteCount }
  }

  /// Kinds of work with their numbers of tensors, the most frequent first.
  private static func operations(_ plan: MergePlan) -> [(String, Int)] {
    var counts: [String: Int] = [:]
    for job in plan.jobs { counts[job.operationText, default: 0] += 1 }
    let sorted = counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { ($0.key, $0.value) }
    guard sorted.count > 12 else { return sorted }
    return sorted.prefix(12) + [("\(sorted.count - 12) other settings", sorted.dropFirst(12).reduce(0) { $0 + $1.1 })]
  }

  static func json(_ plan: MergePlan) -> JSON {
    .object([
      ("event", "plan"), ("method", .string(plan.recipe.method)), ("output", .string(plan.options.output)),
      (
        "models",
        .array(
          plan.models.map {
            [
              "name": .string($0.reference.key), "location": .string($0.checkpoint.location),
              "family": $0.family.map { .string($0) } ?? .null,
            ]
          })
      ),
      (
        "files",
        .array(plan.layout.files.map { ["name": .string($0.name), "bytes": .number($0.byteCount)] })
      ),
      (
        "small_files",
        .array(plan.smallFiles.map { ["name": .string($0.name), "bytes": .number($0.bytes.count)] })
      ),
      ("moved_bytes", .number(plan.movedBytes)), ("threads", .number(plan.memory.threads)),
      ("predicted_peak_bytes", .number(plan.memory.predictedPeak)), ("memory_bytes", .number(plan.options.memory)),
      ("seed", .string(String(plan.options.seed))),
      (
        "tensors",
        .array(
          plan.jobs.map { job in
            [
              "name": .string(job.name), "operation": .string(job.operationText),
              "shape": .array(job.shape.map { .number($0) }), "stored": .string(job.storedFormats),
              "dtype": .string(plan.layout.tensors[job.outputIndex].elementType.safetensorsName),
            ]
          })
      ),
      ("unnamed_tensors", .array(plan.unknownTensors.map { .string($0) })),
    ])
  }
}

/// What a merge did, for people and programs.
public struct MergeReport: Sendable {
  public let figures: MergeRun.Report

  init(_ figures: MergeRun.Report) { self.figures = figures }

  public var text: String {
    let rate = Int(min(1e18, Double(figures.bytesMoved) / max(figures.seconds, 1e-9)))
    let peak = figures.peakBytes.map { "\(ByteCount.text($0)) peak memory" } ?? "peak memory unknown"
    let kept = figures.kept > 0 ? ", \(figures.kept) of them kept from the interrupted run" : ""
    return "\(figures.output): \(figures.tensors) tensors\(kept), \(ByteCount.text(figures.bytesWritten)) written, "
      + "\(Decimals.text(figures.seconds, 2)) s, \(ByteCount.text(rate))/s, \(peak) "
      + "(planned \(ByteCount.text(figures.predictedPeakBytes)))"
  }

  public var json: JSON {
    .object([
      ("event", .string(figures.verb.past)), ("output", .string(figures.output)),
      ("tensors", .number(figures.tensors)),
      ("kept", .number(figures.kept)), ("bytes_written", .number(figures.bytesWritten)),
      ("bytes_moved", .number(figures.bytesMoved)), ("seconds", .number(figures.seconds)),
      ("peak_bytes", figures.peakBytes.map { .number($0) } ?? .null),
      ("predicted_peak_bytes", .number(figures.predictedPeakBytes)), ("threads", .number(figures.threads)),
    ])
  }
}

extension MergePlan.Verb {
  /// What was done.
  fileprivate var past: String {
    switch self {
    case .merge: "merged"
    case .convert: "converted"
    case .materialize: "materialized"
    case .reduce: "reduced"
    case .restructure: "restructured"
    case .align: "aligned"
    case .renormalize: "renormalized"
    }
  }
}
