internal import CKernels
internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierNumerics

/// Rotary position embedding: pairs of entries of each head turn by angles that grow with the position. For a gradient:
/// nothing, the inverse turns back.
///
/// `q, k = rotary(q, k, headWidth: w)`. Settings: `width`, the rotated entries of a head (default all); `theta`, the base
/// where `rope_parameters` has none (default `rope_theta`, else 10000); `entry`, the layer type inside
/// `rope_parameters`; `yarn: 'longrope'`, where the family calls it so; `interleaved: true`, pairs of neighbours instead
/// of halves.
struct RotaryOperation: Operation {
  static let name = "rotary"
  private let headWidth: Int
  private let pairs: Int
  private let table: Int
  private let isInterleaved: Bool

  init(_ binding: inout Binding) throws(Problem) {
    let statement = binding.statement
    guard let widest = binding.inputWidths.max() else { throw binding.problem("needs an input") }
    let headWidth = try statement.integer("headWidth")
    self.headWidth = headWidth
    let width = statement.has("width") ? try statement.integer("width") : headWidth
    guard (1...widest).contains(headWidth), width <= headWidth, binding.inputWidths.allSatisfy({ $0 % headWidth == 0 })
    else {
      throw binding.problem("turns \(width) entries of heads of \(headWidth) in rows of \(binding.inputWidths)")
    }
    let key = statement.config["rope_theta"]?.number ?? 10_000
    let frequencies = try RotaryFrequencies(
      config: statement.config, width: width, theta: statement.has("theta") ? try statement.number("theta") : key,
      entry: statement.has("entry") ? try statement.text("entry") : nil,
      alias: statement.has("yarn") ? ["yarn": try statement.text("yarn")] : [:])
    pairs = frequencies.pairs
    guard 2 * pairs <= headWidth else { throw binding.problem("turns \(2 * pairs) entries of heads of \(headWidth)") }
    table = binding.frequencies(frequencies)
    isInterleaved = statement.has("interleaved") ? try statement.truth("interleaved") : false
    binding.outputWidths = binding.inputWidths
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    var outputs: [Activation] = []
    for (index, x) in inputs.enumerated() { outputs.append(try run.ownCopy(x, index)) }
    let segments = inputs[0].segments
    for sequence in 0..<segments.count {
      let rows = segments.rows(of: sequence)
      guard let last = rows.last else { continue }
      let table = try run.rotary.table(table, length: Int(segments.positions[last]) + 1)
      let (cosines, sines) = (table.cosines.floats.baseAddress!, table.sines.floats.baseAddress!)
      try run.forEachSpan(rows: rows.count, width: inputs[0].width) { span in
        for row in span {
          let offset = Int(segments.positions[rows.lowerBound + row]) * pairs
          for output in outputs {
            es_rotate(
              output.floats + (rows.lowerBound + row) * output.width, Int64(output.width / headWidth),
              Int64(headWidth), Int64(pairs), isInterleaved ? 1 : 0, cosines + offset, sines + offset)
          }
        }
      }
    }
    return outputs
  }
}

extension OperationRun {
  /// The input itself if nobody needs it any more, else a copy.
  fileprivate func ownCopy(_ input: Activation, _ index: Int) throws(Problem) -> Activation {
    if isLastUse[index] { return input }
    let copy = try activation(width: input.width, segments: input.segments)
    copy.floats.update(from: input.floats, count: input.count)
    return copy
  }
}
