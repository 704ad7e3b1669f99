internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierExecution
internal import EspalierLinearMaps

/// What a quantization will do, for people and programs: known without reading a weight.
public struct QuantizationOutline: Sendable {
  private let plan: QuantizationPlan
  private let fit: TypeFitting.Outcome?
  private let calibration: ReductionOutline?
  private let peakBytes: Int

  /// - Parameter fit: what types were found by, if there was a target.
  public init(_ plan: QuantizationPlan, _ fit: TypeFitting.Outcome? = nil) {
    (self.plan, self.fit, calibration) = (plan, fit, nil)
    peakBytes = plan.memory.predictedPeak
  }

  /// Of a file whose matrices are calibrated first.
  public init(_ calibration: BlockCalibration, _ fit: TypeFitting.Outcome? = nil) {
    (plan, self.fit, self.calibration) = (calibration.plan, fit, calibration.outline)
    peakBytes = max(plan.memory.predictedPeak, calibration.plannedPeakBytes)
  }

  /// A line or two before the work.
  public var summary: String {
    (calibration.map { $0.summary + "\n" } ?? "") + writing
  }

  private var writing: String {
    "quantize: \(plan.tensors.count) tensors, \(ByteCount.text(plan.storedBytes)) to "
      + "\(ByteCount.text(plan.byteCount)), \(plan.memory.threads) threads, at most "
      + "\(ByteCount.text(plan.memory.predictedPeak)) of \(ByteCount.text(plan.options.memory)) memory"
  }

  public var text: String {
    var lines = [
      "\(plan.model): \(ByteCount.text(plan.storedBytes)) become \(ByteCount.text(plan.byteCount)), "
        + "\(Decimals.text(plan.bitsPerWeight, 2)) bits a weight (\(fit == nil ? plan.request.mix.name : "types for a target"))"
    ]
    if let fit { lines.append(fit.text) }
    lines += TypeCounts.lines(plan.tensors.map { ($0.choice.format.name, $0.byteCount, nil) })
    lines += plan.transforms.map(\.line)
    for file in plan.layout.files { lines.append("writes    \(file.name), \(ByteCount.text(file.byteCount))") }
    lines.append(
      "memory    at most \(ByteCount.text(plan.memory.predictedPeak)) of \(ByteCount.text(plan.options.memory)), "
        + "\(plan.memory.threads) threads")
    if let calibration { lines.append(calibration.summary) }
    return lines.joined(separator: "\n")
  }

  public var json: JSON {
    [
      "output": .string(plan.output), "request": .string(plan.request.text), "bytes": .number(plan.byteCount),
      "bytes_before": .number(plan.storedBytes), "bits_per_weight": .number(plan.bitsPerWeight),
      "files": .array(plan.layout.files.map { ["name": .string($0.name), "bytes": .number($0.byteCount)] }),
      "fit": fit?.json ?? .null, "calibration": calibration?.json ?? .null, "planned_peak_bytes": .number(peakBytes),
      "threads": .number(plan.memory.threads),
      "transforms": .array(plan.transforms.map(\.json)),
      "tensors": .array(
        plan.tensors.map {
          [
            "name": .string($0.name), "shape": .array($0.shape.map { .number($0) }), "from": .string($0.stored),
            "to": .string($0.choice.format.name), "bytes": .number($0.byteCount),
            "wanted": $0.choice.wanted.map { .string($0.name) } ?? .null,
          ]
        }),
    ]
  }
}

extension GGUFExport.Transform {
  /// What GGUF prescribes: `values    rows in the order of rotary pairs: 60 tensors, exact`.
  var line: String {
    let error = isExact ? "exact" : "each value within \(relativeError) of itself"
    return "values    \(words): \(tensors.count) tensor\(tensors.count == 1 ? "" : "s"), \(error)"
  }

  private var isExact: Bool { kind.isExact }
  private var relativeError: Double { kind.relativeError }

  private var words: String {
    switch kind {
    case .rowsReordered: "rows in the order of rotary pairs"
    case .transposed: "transposed"
    case .stacked: "experts in one tensor"
    case .onePlus: "norms stored as 1 + w"
    case .negativeExponential: "decays stored as -exp(w)"
    }
  }

  var json: JSON {
    [
      "kind": .string(kind.rawValue), "tensors": .number(tensors.count), "relative_error": .number(relativeError),
    ]
  }
}
