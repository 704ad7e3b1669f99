/// What a tensor takes and loses by how coarsely it is rounded: measured at some settings, of which those on the lower
/// convex hull are kept, and in between by interpolation.
struct LossyCurve: Sendable {
  /// A way of rounding, with what it comes to.
  struct Setting: Sendable {
    /// Of the step.
    var logarithm: Double
    var offset: Double
    var bytes: Double
    var cost: Double
  }

  /// From the finest to the coarsest: bytes descend, costs rise, ever more a byte.
  let settings: [Setting]

  /// - Parameter measured: in any order; not empty.
  init(_ measured: [Setting]) {
    var hull: [Setting] = []
    for next in measured.sorted(by: { ($1.bytes, $0.cost) < ($0.bytes, $1.cost) }) {
      // What is no smaller and costs no less than another is of no use.
      while let last = hull.last, last.cost >= next.cost { hull.removeLast() }
      if let last = hull.last, last.bytes <= next.bytes { continue }
      while hull.count > 1 {
        let last = hull[hull.count - 1]
        guard Self.slope(hull[hull.count - 2], last) >= Self.slope(last, next) else { break }
        hull.removeLast()
      }
      hull.append(next)
    }
    settings = hull
  }

  /// What a byte less costs between two settings.
  private static func slope(_ fine: Setting, _ coarse: Setting) -> Double {
    (coarse.cost - fine.cost) / (fine.bytes - coarse.bytes)
  }

  var mostBytes: Double { settings[0].bytes }
  var leastBytes: Double { settings[settings.count - 1].bytes }

  /// The setting at which a byte less costs as much as `price`, between the corners of the hull too, so that bytes go
  /// steadily with the price.
  func setting(atPrice price: Double) -> Setting {
    guard settings.count > 1 else { return settings[0] }
    let slopes = zip(settings, settings.dropFirst()).map { Self.slope($0, $1) }
    let corner = slopes.firstIndex { $0 > price } ?? slopes.count
    // Half way along an edge its own slope is the price.
    func logarithm(_ slope: Double) -> Double { Self.logarithm(max(slope, 0x1p-1000)) }
    let edge: Double
    if corner == 0 {
      edge = 0.5 - (logarithm(slopes[0]) - logarithm(price)) / 2
    } else if corner == slopes.count {
      edge = Double(corner) - 0.5 + (logarithm(price) - logarithm(slopes[corner - 1])) / 2
    } else {
      let (from, to) = (logarithm(slopes[corner - 1]), logarithm(slopes[corner]))
      edge = Double(corner) - 0.5 + (to > from ? (logarithm(price) - from) / (to - from) : 0)
    }
    let place = min(max(edge, 0), Double(settings.count - 1))
    let index = min(Int(place), settings.count - 2)
    let (a, b, share) = (settings[index], settings[index + 1], place - Double(index))
    func between(_ x: Double, _ y: Double) -> Double { x + share * (y - x) }
    return Setting(
      logarithm: between(a.logarithm, b.logarithm), offset: between(a.offset, b.offset),
      bytes: between(a.bytes, b.bytes), cost: between(a.cost, b.cost))
  }

  /// The logarithm to base 2, between powers of two along the chord: monotone, and the same on every machine.
  static func logarithm(_ value: Double) -> Double { Double(value.exponent) + value.significand - 1 }

  /// The inverse of ``logarithm(_:)``.
  static func power(_ logarithm: Double) -> Double {
    let whole = logarithm.rounded(.down)
    return Double(sign: .plus, exponent: Int(max(-1000, min(1000, whole))), significand: 1 + logarithm - whole)
  }

  /// The settings of all curves at the price at which they take so many bytes together, as nearly as that goes.
  static func settings(of curves: [LossyCurve], bytes: Double) -> [Setting] {
    var (cheap, dear) = (-900.0, 900.0)
    for _ in 0..<80 {
      let middle = (cheap + dear) / 2
      let price = power(middle)
      let sum = curves.reduce(0) { $0 + $1.setting(atPrice: price).bytes }
      if sum > bytes { cheap = middle } else { dear = middle }
    }
    return curves.map { $0.setting(atPrice: power(dear)) }
  }
}
