internal import EspalierBasics
internal import EspalierNetworks

/// How far each layer turns the rows that go through it: `1 - E[cos(x_in, x_out)]` (ShortGPT's block influence).
enum BlockInfluence {
  /// - Returns: one figure a layer, in their order.
  /// - Throws: `restructuring` without text.
  static func measure(_ subject: any StructuralSubject) throws(Problem) -> [Double] {
    guard !subject.sequences.isEmpty else {
      throw Problem(.restructuring, "influence is measured on text", remedy: "Give --text.")
    }
    let run = try BlockRun(subject.network, sequences: subject.sequences)
    var influence: [Double] = []
    for _ in try subject.network.blocks() {
      guard let similarity = try run.runBlock(observe: nil) else { continue }
      influence.append(similarity.count == 0 ? 1 : 1 - similarity.sum / Double(similarity.count))
    }
    return influence
  }
}
