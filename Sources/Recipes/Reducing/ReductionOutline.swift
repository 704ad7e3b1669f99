public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNetworks
internal import EspalierReduction

/// What a pruning or a factorization will do, for people and programs.
public struct ReductionOutline: Sendable {
  private let plan: ReductionPlan

  public init(_ plan: ReductionPlan) { self.plan = plan }

  /// One line before the work.
  public var summary: String {
    "\(plan.request.method): \(ReductionReport.matrices(plan.matrixCount)), at most \(ByteCount.text(plan.peakBytes)) of "
      + "\(ByteCount.text(plan.conversion.options.memory)) memory"
  }

  public var text: String {
    var lines = [summary]
    lines += plan.request.text.split(separator: "\n").map { "  \($0)" }
    if plan.spills { lines.append("  what goes from block to block lies in a temporary file") }
    for block in plan.blocks where !block.targets.isEmpty {
      let sites = block.passes.isEmpty ? "" : " in \(block.passes.count) pass\(block.passes.count == 1 ? "" : "es")"
      lines.append("\(block.name)\(sites)")
      for matrix in block.matrices {
        let budget = budget(of: matrix)
        lines.append("  \(matrix.name)  \(matrix.outputs) x \(matrix.inputs)  \(budget)")
      }
    }
    return lines.joined(separator: "\n")
  }

  private func budget(of matrix: NetworkMatrix) -> String {
    let text = plan.request.budget(of: matrix.name).map { plan.request.words(for: $0, of: matrix.parameter.name) } ?? ""
    return GlobalPruning.isAsked(plan.request) ? "its part of \(text)" : text
  }

  public var json: JSON {
    [
      "method": .string(plan.request.method), "request": .string(plan.request.text),
      "peak_bytes": .number(plan.peakBytes), "spills": .bool(plan.spills),
      "matrices": .array(
        plan.blocks.flatMap { block in
          block.matrices.map { matrix in
            [
              "block": .string(block.name), "matrix": .string(matrix.name), "site": .string(matrix.site),
              "shape": [.number(matrix.outputs), .number(matrix.inputs)],
              "budget": .string(budget(of: matrix)),
            ]
          }
        }),
    ]
  }
}
