public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierMerging
internal import EspalierNumerics

/// What a conversion will do, for people and programs.
public struct ConversionOutline: Sendable {
  private let plan: MergePlan

  public init(_ plan: MergePlan) { self.plan = plan }

  /// One line before the work.
  public var summary: String {
    "convert: \(plan.jobs.count) tensors, \(ByteCount.text(plan.layout.byteCount)) to write, "
      + "\(plan.memory.threads) threads, at most \(ByteCount.text(plan.memory.predictedPeak)) of "
      + "\(ByteCount.text(plan.options.memory)) memory"
  }

  public var json: JSON { PlanText.json(plan) }

  /// What is read, what becomes of it, what is written and how much memory that takes.
  public var text: String {
    var lines: [String] = []
    func add(_ label: String, _ texts: [String]) {
      for (index, text) in texts.enumerated() {
        let head = index == 0 ? label : ""
        lines.append(head + String(repeating: " ", count: 10 - head.count) + text)
      }
    }
    add(
      "convert",
      plan.models.map {
        "\($0.reference.key): \($0.family ?? "unknown family"), \($0.checkpoint.parameters.count) tensors, "
          + "\(ByteCount.text(PlanText.storedBytes(of: $0))) as stored"
      })
    add("types", changes.map(\.text) + [hint].compactMap { $0 })
    if !plan.unknownTensors.isEmpty {
      let shown = plan.unknownTensors.prefix(5).joined(separator: ", ")
      let more = plan.unknownTensors.count > 5 ? " and \(plan.unknownTensors.count - 5) more" : ""
      add("unnamed", ["carried along though the family's description does not name them: \(shown)\(more)"])
    }
    add("writes", plan.layout.files.map { "\(plan.options.output)/\($0.name), \(ByteCount.text($0.byteCount))" })
    add("", plan.smallFiles.map { "\(plan.options.output)/\($0.name), \(ByteCount.text($0.bytes.count))" })
    add(
      "memory",
      [
        "at most \(ByteCount.text(plan.memory.predictedPeak)) of \(ByteCount.text(plan.options.memory)), "
          + "\(plan.memory.threads) threads"
      ])
    return lines.joined(separator: "\n")
  }

  /// Tensors stored in one way that are written in one type.
  private struct Change {
    var from: String
    var to: String
    var isCopied: Bool
    var tensors = 0
    var bytesBefore = 0
    var bytesAfter = 0

    var text: String {
      let count = "\(tensors) tensor\(tensors == 1 ? "" : "s")"
      if isCopied { return "\(from) stays: \(count), \(ByteCount.text(bytesAfter)), copied byte for byte" }
      if from == to { return "\(from) stays: \(count), \(ByteCount.text(bytesAfter)), in the layout of the family" }
      return "\(from) to \(to): \(count), \(ByteCount.text(bytesBefore)) become \(ByteCount.text(bytesAfter))"
    }
  }

  /// The largest first.
  private var changes: [Change] {
    var changes: [Change] = []
    for job in plan.jobs {
      let output = plan.layout.tensors[job.outputIndex]
      let change = Change(
        from: job.storedFormats, to: output.elementType.safetensorsName, isCopied: job.operation == .copy)
      let place = changes.firstIndex {
        $0.from == change.from && $0.to == change.to && $0.isCopied == change.isCopied
      }
      if place == nil { changes.append(change) }
      let index = place ?? changes.count - 1
      changes[index].tensors += 1
      changes[index].bytesBefore += job.storedBytes
      changes[index].bytesAfter += output.byteCount
    }
    return changes.sorted { $0.bytesAfter > $1.bytesAfter }
  }

  /// Said where a type was chosen that nobody asked for.
  private var hint: String? {
    guard plan.recipe.outputType == nil, changes.contains(where: { !$0.isCopied && $0.from != $0.to }) else {
      return nil
    }
    return "(--dtype f32, f16 or bf16 chooses one type for all floats)"
  }
}

extension MergeJob {
  /// How what it reads is stored: `Q4_K`, or of several tensors `BF16 and F32`.
  var storedFormats: String {
    var names: [String] = []
    for tensor in inputs.flatMap({ $0.parameter.recipe.storedTensors }) where !names.contains(tensor.format.name) {
      names.append(tensor.format.name)
    }
    return names.joined(separator: " and ")
  }

  /// Bytes of what it reads, read once.
  var storedBytes: Int { inputs.flatMap { $0.parameter.recipe.storedTensors }.reduce(0) { $0 + $1.byteCount } }
}
