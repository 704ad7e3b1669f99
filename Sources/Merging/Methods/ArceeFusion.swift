internal import CKernels
public import EspalierBasics
public import EspalierExecution
internal import EspalierNumerics

/// Takes the other model's value where its change is important, by size and by how much the row's distribution moved.
///
/// ```
/// p = softmax(x, row) + 1e-8,   q = softmax(b, row) + 1e-8,   KL = sum p ln(p/q)
/// importance = |x - b| * KL(row),   out = x where importance >= median + 1.5 (Q3 - Q1), else b
/// ```
public struct ArceeFusion: MergeMethod {
  public static let card = MethodCard(
    name: "arcee_fusion", summary: "Takes important changes of the other model whole, and nothing of the rest.",
    source: "mergekit",
    notes:
      "Divergences in float64 and exact quantiles (ascending rank int(q (n-1))) of the whole tensor; mergekit takes quantiles of a random sample, and in float32 its divergences of near models are rounding noise, so that its mask is too."
  )
  public static let inputs = MergeInputRule(base: .required, count: 2...2, missing: .passSingle)

  public init(_ parameters: MergeParameters) throws(Problem) {}

  public var passCount: Int { 3 }
  public var scratchCount: Int { 1 }

  public func layouts(shape: [Int]) -> [Tiling.Blocks] { [.rows(length: rowLength(shape)), .flat] }

  private func rowLength(_ shape: [Int]) -> Int { max(1, shape.last ?? 1) }

  public func residentBytes(shape: [Int], inputs: Int) -> Int {
    let count = shape.reduce(1, *)
    return 8 * (count / rowLength(shape) + 1) + RankSelector.memoryBound(count: count, requests: 3)
  }

  public func merge(_ passes: MergePasses) throws(Problem) {
    let tensor = passes.tensor
    let length = rowLength(tensor.shape)
    let rows = tensor.elementCount / length
    let divergences = UnsafeMutablePointer<Double>.allocate(capacity: max(1, rows))
    defer { divergences.deallocate() }
    try tensor.forEachBlock(.rows(length: length)) { block in
      divergences[block.index] = es_softmax_divergence(block.inputs[1], block.inputs[0], Int64(block.count))
    }
    let quartiles = [0.25, 0.5, 0.75].map { Int($0 * Double(tensor.elementCount - 1)) }
    let requests = quartiles.map { RankRequest(count: $0 + 1, order: .smallestValue) }
    let values = try RankScan.cuts(requests, of: tensor) { block, give in
      importance(block, divergences, rowLength: length)
      give(0, block.scratch[0])
    }.map { Double($0.value) }
    let threshold = Float(values[1] + 1.5 * (values[2] - values[0]))
    try tensor.write { block in
      importance(block, divergences, rowLength: length)
      let (base, other, importance) = (block.inputs[0], block.inputs[1], block.scratch[0])
      for index in 0..<block.count {
        block.output[index] = importance[index] >= threshold ? other[index] : base[index]
      }
    }
  }

  private func importance(_ block: Block, _ divergences: UnsafePointer<Double>, rowLength: Int) {
    let (base, other, importance) = (block.inputs[0], block.inputs[1], block.scratch[0])
    var row = block.start / rowLength
    var column = block.start % rowLength
    for index in 0..<block.count {
      importance[index] = Float(Double(abs(other[index] - base[index])) * divergences[row])
      column += 1
      if column == rowLength { (row, column) = (row + 1, 0) }
    }
  }
}
