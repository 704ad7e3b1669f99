internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierNumerics
internal import EspalierReduction

/// The output of a trial: a safetensors file with the reduced weight.
///
/// Stored dense, `NAME` `[outputs, inputs]` has every element, and factors lie beside it: `NAME.left`, `NAME.right`, or
/// `NAME.columns`, `NAME.link`, `NAME.rows` with `NAME.column_indices`, `NAME.row_indices`. Stored reduced, there is the
/// form alone, under `NAME` as models have it. `NAME.output_shift` `[outputs]` is what is to be added to the outputs.
/// The metadata entry `espalier.trial` says what was done.
struct TrialFile {
  private struct Part {
    var name: String
    var elementType: ElementType
    var shape: [Int]
    var bytes: [UInt8]
  }

  private var parts: [Part] = []
  private var metadata: [(key: String, value: String)] = [("format", "pt")]

  static let recordKey = "espalier.trial"

  init(_ reduced: ReducedMatrix, measure: TrialMeasure, name: String, about record: JSON) throws(Problem) {
    let type = measure.elementType
    switch (measure.store, reduced.form) {
    case (.dense, .dense(let matrix)): add(name, matrix, type)
    case (.dense, .quantized(let matrix)): add(name, try matrix.materialized(), type)
    case (.dense, let form):
      add(name, try form.materialized(parallel: measure.parallel), type)
      add(try measure.encoding(of: form, name: name))
      if case .cur(_, _, _, let columns, let rows) = form {
        add("\(name).column_indices", columns)
        add("\(name).row_indices", rows)
      }
    case (.reduced, let form):
      let encoding = try measure.encoding(of: form, name: name)
      add(encoding)
      metadata += [ReducedSection.entry(for: [(name, encoding.form, encoding.shape)])].compactMap { $0 }
    }
    if let shift = reduced.outputShift {
      parts.append(
        Part(
          name: "\(name).output_shift", elementType: .f32, shape: [shift.count], bytes: ElementType.f32.encoded(shift)))
    }
    metadata.append((Self.recordKey, record.text()))
  }

  private mutating func add(_ name: String, _ matrix: Matrix<Float>, _ type: ElementType) {
    parts.append(
      Part(name: name, elementType: type, shape: [matrix.rows, matrix.columns], bytes: type.encoded(matrix.elements)))
  }

  private mutating func add(_ encoding: ReducedEncoding) {
    parts += encoding.parts.map { Part(name: $0.name, elementType: $0.elementType, shape: $0.shape, bytes: $0.bytes) }
  }

  private mutating func add(_ name: String, _ indices: [Int]) {
    let bytes = indices.flatMap { index in (0..<8).map { UInt8(truncatingIfNeeded: index >> (8 * $0)) } }
    parts.append(Part(name: name, elementType: .i64, shape: [indices.count], bytes: bytes))
  }

  /// - Throws: `output.exists`, `output.input`.
  static func requireFree(_ path: String, force: Bool, inputs: [String]) throws(Problem) {
    if let input = inputs.first(where: { OutputOverlap.overlaps(path, input: $0) }) {
      throw Problem(
        .outputOverlap, "the output \(path) and the input \(input) are one file, or one lies in the other",
        remedy: "Choose another name: inputs are never written to.", file: path)
    }
    guard let kind = FileSystem.kind(path) else { return }
    guard kind == .file, force else {
      throw Problem(
        .outputExists, kind == .file ? "the output exists already" : "there is something that is no file",
        remedy: kind == .file ? "Choose another name, or give --force to replace it." : "Choose another name.",
        file: path)
    }
  }

  /// Writes the file through a temporary name; its bytes.
  func write(to path: String) throws(Problem) -> Int {
    // Wider elements first, so that every tensor is aligned to its element.
    let ordered = parts.enumerated().sorted { a, b in
      (b.element.elementType.byteWidth, a.offset) < (a.element.elementType.byteWidth, b.offset)
    }.map(\.element)
    var bytes = SafetensorsHeader.bytes(
      for: ordered.map { ($0.name, $0.elementType, $0.shape) }, metadata: metadata.map { ($0.key, $0.value) })
    for part in ordered { bytes += part.bytes }
    try FileSystem.createParents(of: path)
    try FileSystem.write(bytes, to: path)
    return bytes.count
  }
}
