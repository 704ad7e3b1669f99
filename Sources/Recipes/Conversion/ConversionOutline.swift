public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierEvaluation
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
    "\(plan.verb.rawValue): \(plan.jobs.count) tensors, \(ByteCount.text(plan.layout.byteCount)) to write, "
      + "\(plan.memory.threads) threads, at most \(ByteCount.text(plan.memory.predictedPeak)) of "
      + "\(ByteCount.text(plan.options.memory)) memory"
  }

  public var json: JSON {
    var json = PlanText.json(plan)
    json["conversions"] = .array(changes.map(\.json))
    return json
  }

  /// What became of parameters in reduced forms, a line each: `low_rank BF16 to BF16: 210 tensors, 107 MB become 177 MB`.
  public var reducedForms: [String] { changes.filter(\.isReduced).map(\.text) }
  /// The same for programs.
  public var reducedFormsJSON: JSON { .array(changes.filter(\.isReduced).map(\.json)) }

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
      plan.verb == .materialize ? "reduced" : "convert",
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
    var isReduced: Bool
    var tensors = 0
    var bytesBefore = 0
    var bytesAfter = 0

    var text: String {
      let count = "\(tensors) tensor\(tensors == 1 ? "" : "s")"
      if isCopied { return "\(from) stays: \(count), \(ByteCount.text(bytesAfter)), copied byte for byte" }
      if from == to { return "\(from) stays: \(count), \(ByteCount.text(bytesAfter)), in the layout of the family" }
      return "\(from) to \(to): \(count), \(ByteCount.text(bytesBefore)) become \(ByteCount.text(bytesAfter))"
    }

    var json: JSON {
      [
        "from": .string(from), "to": .string(to), "copied": .bool(isCopied), "tensors": .number(tensors),
        "bytes_before": .number(bytesBefore), "bytes_after": .number(bytesAfter),
      ]
    }
  }

  /// The largest first.
  private var changes: [Change] {
    var changes: [Change] = []
    for job in plan.jobs {
      let output = plan.layout.tensors[job.outputIndex]
      let change = Change(
        from: job.storedFormats, to: output.elementType.safetensorsName, isCopied: job.operation == .copy,
        isReduced: job.readsReducedForms)
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
  /// How what it reads is stored: `Q4_K`, of several tensors `BF16 and F32`, in a reduced form `bitmap BF16`.
  var storedFormats: String {
    var names: [String] = []
    for name in inputs.flatMap({ $0.parameter.recipe.formatNames }) where !names.contains(name) { names.append(name) }
    return names.joined(separator: " and ")
  }

  /// Bytes of what it reads, read once.
  var storedBytes: Int { inputs.flatMap { $0.parameter.recipe.storedTensors }.reduce(0) { $0 + $1.byteCount } }

  var readsReducedForms: Bool { inputs.contains { $0.parameter.recipe.isReduced } }
}

extension StorageRecipe {
  /// The formats of what it reads, each perhaps several times.
  fileprivate var formatNames: [String] {
    switch self {
    case .stored(let tensor), .coded(let tensor): return [tensor.format.name]
    case .updated(let base, _, let update): return base.formatNames + update.storedTensors.map(\.format.name)
    case .reordered, .transposed, .mapped, .gathered, .selected, .combined: return sources.flatMap(\.formatNames)
    case .reduced(let storage):
      let form = ReducedForm(storage)
      return ["\(form.name) \(form.typeNames.map { $0.uppercased() }.joined(separator: " and "))"]
    case .packed(let storage): return [storage.formatName]
    }
  }

  /// Whether it reads a parameter in a reduced form.
  fileprivate var isReduced: Bool {
    if case .reduced = self { true } else { sources.contains(where: \.isReduced) }
  }
}
