internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierExecution
internal import EspalierLinearMaps

/// What a quantization did, for people and programs.
public struct QuantizationReport: Sendable {
  /// What became of a tensor.
  public struct Tensor: Sendable {
    public var name: String
    public var shape: [Int]
    public var from: String
    public var to: String
    public var bytesBefore: Int
    public var bytesAfter: Int
    /// `||W - Q(W)|| / ||W||`, measured on all of the tensor; nil for tensors that are not in blocks.
    public var error: Double?
    /// The mean square error of a number.
    public var meanSquare: Double?
    /// Whether its codes were there and were carried over.
    public var isCarried = false
    /// The sum of squared errors, each times the importance of its column; without importance the plain sum.
    var weighedError: Double?
  }

  public let output: String
  public let request: String
  public let tensors: [Tensor]
  /// What types were found by, if there was a target.
  public let fit: TypeFitting.Outcome?
  /// What was rounded by its inputs, if anything was.
  public let calibration: BlockCalibration.Outcome?
  public let evaluation: ReductionReport.Evaluation?
  /// Tensors taken over from an earlier, unfinished run.
  public let kept: Int
  public let bytes: Int
  public let bitsPerWeight: Double
  /// What happened to values beside rounding.
  let transforms: [GGUFExport.Transform]
  public let seconds: Double
  public let secondsMeasuring: Double
  public let plannedPeakBytes: Int
  public let peakBytes: Int?

  init(
    _ plan: QuantizationPlan, records: [TensorRecord], kept: Int, fit: TypeFitting.Outcome?,
    calibration: BlockCalibration.Outcome? = nil, evaluation: ReductionReport.Evaluation?,
    seconds: Double, secondsMeasuring: Double, peakBytes: Int?
  ) {
    output = plan.output
    request = plan.request.text
    let figures = Dictionary(
      records.map { (ExactString($0.tensor), $0.figures) }, uniquingKeysWith: { first, _ in first })
    // What was calibrated lies in its blocks by now.
    let originals = calibration?.originals ?? plan.tensors
    let calibrated = calibration?.parameters ?? []
    tensors = zip(plan.tensors, originals).map { tensor, original in
      // How far blocks are from themselves says nothing: the error of what was calibrated is its matrices'.
      let isCalibrated = tensor.sources.contains { calibrated.contains(ExactString($0)) }
      let found = isCalibrated ? nil : figures[ExactString(tensor.name)] ?? nil
      let (error, squares) = (found?["squared_error"]?.number, found?["squares"]?.number)
      let count = Double(max(1, tensor.shape.reduce(1, *)))
      return Tensor(
        name: tensor.name, shape: tensor.shape, from: original.stored, to: tensor.choice.format.name,
        bytesBefore: original.storedBytes, bytesAfter: tensor.byteCount,
        error: error.flatMap { (error) -> Double? in squares.map { $0 > 0 ? (error / $0).squareRoot() : 0 } },
        meanSquare: error.map { $0 / count }, isCarried: found?["carried"]?.bool == true,
        weighedError: found?["weighed_error"]?.number)
    }
    self.fit = fit
    self.calibration = calibration
    self.evaluation = evaluation
    self.kept = kept
    bytes = plan.byteCount
    bitsPerWeight = plan.bitsPerWeight
    transforms = plan.transforms
    self.seconds = seconds
    self.secondsMeasuring = secondsMeasuring
    plannedPeakBytes = max(plan.memory.predictedPeak, calibration?.plannedPeakBytes ?? 0)
    self.peakBytes = peakBytes
  }

  public var bytesBefore: Int { tensors.reduce(0) { $0 + $1.bytesBefore } }

  public var json: JSON {
    .object([
      ("espalier_quantization", 1), ("output", .string(output)), ("request", .string(request)),
      ("bytes_before", .number(bytesBefore)), ("bytes", .number(bytes)), ("bits_per_weight", .number(bitsPerWeight)),
      ("transforms", .array(transforms.map(\.json))), ("fit", fit?.json ?? .null),
      ("calibration", calibration?.json ?? .null), ("evaluation", evaluation?.json ?? .null),
      ("seconds", .number(seconds)),
      ("seconds_measuring", .number(secondsMeasuring)), ("kept_tensors", .number(kept)),
      ("planned_peak_bytes", .number(plannedPeakBytes)), ("peak_bytes", peakBytes.map { .number($0) } ?? .null),
      (
        "tensors",
        .array(
          tensors.map { tensor in
            [
              "name": .string(tensor.name), "shape": .array(tensor.shape.map { .number($0) }),
              "from": .string(tensor.from), "to": .string(tensor.to), "bytes_before": .number(tensor.bytesBefore),
              "bytes": .number(tensor.bytesAfter), "error": tensor.error.map { .number($0) } ?? .null,
              "mean_square_error": tensor.meanSquare.map { .number($0) } ?? .null,
              "carried": .bool(tensor.isCarried),
            ]
          })
      ),
    ])
  }

  /// Some lines at the end of a run.
  public var text: String {
    let size = ByteCount.text
    var lines = [
      "\(output): \(tensors.count) tensors, \(size(bytesBefore)) become \(size(bytes)), "
        + "\(Decimals.text(bitsPerWeight, 2)) bits a weight"
    ]
    lines += TypeCounts.lines(tensors.map { ($0.to, $0.bytesAfter, calibration == nil ? $0.error : nil) })
    if let fit { lines.append(fit.text) }
    if let carrying { lines.append(carrying) }
    if let calibration { lines.append(calibration.text) }
    if kept > 0 { lines.append("\(kept) tensors were there from an earlier run") }
    if let worst = tensors.filter({ $0.error != nil }).max(by: { ($0.error ?? 0) < ($1.error ?? 0) }) {
      let what = calibration == nil ? "" : " of what was not calibrated"
      lines.append("largest error\(what): \(Decimals.text(worst.error ?? 0, 4)), \(worst.name) (\(worst.to))")
    }
    let measuring = secondsMeasuring >= 0.05 ? ", measuring \(Decimals.text(secondsMeasuring, 1)) s" : ""
    lines.append(
      "quantizing \(Decimals.text(seconds, 1)) s\(measuring), memory at most "
        + "\(peakBytes.map { size($0) } ?? "unknown")\(fit == nil ? "" : " with what was measured before"), planned "
        + size(plannedPeakBytes))
    if let evaluation { lines.append("\n" + evaluation.text) }
    return lines.joined(separator: "\n")
  }

  /// What was not rounded again, in a line.
  private var carrying: String? {
    let carried = tensors.filter(\.isCarried)
    guard !carried.isEmpty else { return nil }
    let exact = carried.count { $0.error == 0 }
    return "codes carried over: \(carried.count) tensor\(carried.count == 1 ? "" : "s"), \(exact) without any error"
  }

  /// `REPORT.md`.
  public var markdown: String {
    let size = ByteCount.text
    var text = """
      # What was kept and what was lost

      Weights of \(size(bytesBefore)) became \(size(bytes)): \(Decimals.text(bitsPerWeight, 2)) bits a weight.

      ```
      \(request)```


      """
    if let fit { text += "\(fit.text)\n\n" }
    if let carrying { text += "\(carrying)\n\n" }
    if !transforms.isEmpty {
      text += "What GGUF prescribes of values:\n\n```\n\(transforms.map(\.line).joined(separator: "\n"))\n```\n\n"
    }
    if let evaluation { text += "## Against the original\n\n```\n\(evaluation.text)```\n\n" }
    text += """
      ## Tensor by tensor

      Error: the norm of the difference over the norm of the tensor, measured.

      | tensor | shape | was | is | error | bytes before | bytes |
      |---|---|---|---|---:|---:|---:|

      """
    for tensor in tensors {
      let cells = [
        tensor.name, tensor.shape.map { "\($0)" }.joined(separator: " x "), tensor.from, tensor.to,
        tensor.error.map { Decimals.text($0, 5) } ?? "-", size(tensor.bytesBefore), size(tensor.bytesAfter),
      ]
      text += "| " + cells.joined(separator: " | ") + " |\n"
    }
    if let calibration { text += calibration.markdown }
    return text
  }
}

/// Tensors counted by type.
enum TypeCounts {
  /// A line a type, the largest first: tensors, bytes, and the root mean square of their errors where they are known.
  static func lines(_ tensors: [(type: String, bytes: Int, error: Double?)]) -> [String] {
    var order: [String] = []
    var rows: [String: (count: Int, bytes: Int, squares: Double, errors: Int)] = [:]
    for tensor in tensors {
      if rows[tensor.type] == nil { order.append(tensor.type) }
      var row = rows[tensor.type] ?? (0, 0, 0, 0)
      row.count += 1
      row.bytes += tensor.bytes
      if let error = tensor.error {
        row.squares += error * error
        row.errors += 1
      }
      rows[tensor.type] = row
    }
    return order.sorted { (rows[$0]?.bytes ?? 0) > (rows[$1]?.bytes ?? 0) }.map { type in
      let row = rows[type] ?? (0, 0, 0, 0)
      let mean =
        row.errors > 0 ? ", mean error \(Decimals.text((row.squares / Double(row.errors)).squareRoot(), 4))" : ""
      let padding = String(repeating: " ", count: max(1, 8 - type.count))
      return "  \(type)\(padding)\(row.count) tensor\(row.count == 1 ? "" : "s"), \(ByteCount.text(row.bytes))\(mean)"
    }
  }
}
