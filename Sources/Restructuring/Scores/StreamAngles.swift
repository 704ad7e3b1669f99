internal import EspalierBasics
internal import EspalierNetworks
internal import EspalierNumerics

/// Angles between the stream at two depths, by the last token of every sequence (Gromov et al. 2024, equation 7):
///
///     d(l, l + n) = E[ arccos(cos(x_l, x_{l+n})) ] / π
struct StreamAngles {
  /// For every depth, before the first layer and after each, the last rows of all sequences, each of length 1.
  private let rows: [[[Float]]]

  init(_ network: Network, on sequences: [[Int32]]) throws(Problem) {
    var rows: [[[Float]]] = []
    for sequence in sequences {
      // One by one: hidden states of all layers are there at once.
      let outputs = try network.forward(NetworkInputs(tokens: [sequence]), hiddenStates: true)
      let stream = outputs.filter { $0.name == "embed" || $0.name.hasPrefix("layer.") }
      if rows.isEmpty { rows = Array(repeating: [], count: stream.count) }
      guard stream.count == rows.count else { continue }
      for (depth, output) in stream.enumerated() {
        rows[depth].append(Self.direction(output.values.suffix(output.shape.last ?? 0)))
      }
    }
    self.rows = rows
  }

  /// Layers that were run.
  var layerCount: Int { max(0, rows.count - 1) }

  /// Of what enters layer `first` and what leaves the `count` layers from there on, from 0 to 1.
  func angle(from first: Int, over count: Int) -> Double {
    let (a, b) = (rows[first], rows[first + count])
    let sum = zip(a, b).reduce(0.0) { sum, pair in
      let cosine = zip(pair.0, pair.1).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
      return sum + Elementary.acos(min(1, max(-1, cosine)))
    }
    return sum / Double(max(1, a.count)) / Double.pi
  }

  private static func direction(_ row: ArraySlice<Float>) -> [Float] {
    let norm = row.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
    return row.map { norm > 0 ? Float(Double($0) / norm) : 0 }
  }
}
