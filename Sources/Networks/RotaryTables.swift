internal import EspalierBasics
internal import EspalierNumerics
internal import Synchronization

/// Cosines and sines of rotary embedding, computed in float64 once and rounded.
final class RotaryTables: Sendable {
  /// Rows of `pairs` values, one a position.
  struct Table: Sendable {
    let cosines: AlignedBuffer
    let sines: AlignedBuffer
    let positions: Int
    let regime: Int
  }

  let frequencies: [RotaryFrequencies]
  private let tables: Mutex<[Int: [Table]]> = Mutex([:])

  init(_ frequencies: [RotaryFrequencies]) { self.frequencies = frequencies }

  /// A table of the frequencies number `index` for a sequence that reaches `length` positions.
  func table(_ index: Int, length: Int) throws(Problem) -> Table {
    let regime = frequencies[index].regime(length: length)
    let known = tables.withLock { tables in
      tables[index]?.first { $0.regime == regime && $0.positions >= length }
    }
    if let known { return known }
    let made = try make(frequencies[index], length: length, regime: regime)
    tables.withLock { tables in
      // A sequence that grows beyond its model's length passes through many regimes; two are worth keeping.
      var kept = (tables[index] ?? []).filter { $0.regime != regime }
      if kept.count > 1 { kept.removeFirst() }
      tables[index] = kept + [made]
    }
    return made
  }

  private func make(_ frequencies: RotaryFrequencies, length: Int, regime: Int) throws(Problem) -> Table {
    var positions = 256
    while positions < length { positions *= 2 }
    let pairs = frequencies.pairs
    let radians = frequencies.radians(length: length)
    let cosines = try AlignedBuffer(count: positions * pairs, of: Float.self)
    let sines = try AlignedBuffer(count: positions * pairs, of: Float.self)
    let (cosine, sine) = (cosines.floats, sines.floats)
    for position in 0..<positions {
      for pair in 0..<pairs {
        let angle = Double(position) * radians[pair]
        cosine[position * pairs + pair] = Float(frequencies.amplitude * Elementary.cos(angle))
        sine[position * pairs + pair] = Float(frequencies.amplitude * Elementary.sin(angle))
      }
    }
    return Table(cosines: cosines, sines: sines, positions: positions, regime: regime)
  }
}
