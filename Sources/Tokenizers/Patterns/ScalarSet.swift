/// A set of scalars, as patterns name them: ranges, categories, scripts and the rest between brackets.
///
/// Membership of ASCII is looked up in two words; other scalars are tried member by member.
struct ScalarSet: Sendable, Hashable {
  enum Member: Sendable, Hashable {
    case range(ClosedRange<UInt32>)
    case categories(CategorySet)
    case script(UInt8)
    case whitespace
    case word
    indirect case set(ScalarSet)
  }

  /// A scalar is in the set if it is in a member of every group; `negated` turns that around.
  private let groups: [[Member]]
  private let negated: Bool
  private let low: UInt64
  private let high: UInt64

  init(_ members: [Member], negated: Bool = false) { self.init(groups: [members], negated: negated) }

  /// The intersection of groups of members.
  init(groups: [[Member]], negated: Bool = false) {
    self.groups = groups
    self.negated = negated
    var words: (UInt64, UInt64) = (0, 0)
    for scalar in 0..<128 as Range<UInt32> where Self.holds(scalar, groups) != negated {
      if scalar < 64 { words.0 |= 1 << UInt64(scalar) } else { words.1 |= 1 << UInt64(scalar - 64) }
    }
    (low, high) = words
  }

  @inline(__always)
  func contains(_ scalar: UInt32) -> Bool {
    if scalar < 128 { return (scalar < 64 ? low : high) >> UInt64(scalar & 63) & 1 != 0 }
    return Self.holds(scalar, groups) != negated
  }

  private static func holds(_ scalar: UInt32, _ groups: [[Member]]) -> Bool {
    for group in groups {
      var isIn = false
      for member in group {
        switch member {
        case .range(let range): isIn = range.contains(scalar)
        case .categories(let set): isIn = set.contains(ScalarClass.category(scalar))
        case .script(let script): isIn = ScalarClass.scriptTable[scalar] == script
        case .whitespace: isIn = ScalarClass.isWhitespace(scalar)
        case .word: isIn = ScalarClass.flags(scalar).contains(.patternWord)
        case .set(let set): isIn = set.contains(scalar)
        }
        if isIn { break }
      }
      if !isIn { return false }
    }
    return true
  }

  /// Which ASCII scalars are in the set.
  var ascii: (low: UInt64, high: UInt64) { (low, high) }

  var inverted: ScalarSet { ScalarSet(groups: groups, negated: !negated) }

  static func only(_ scalar: UInt32) -> ScalarSet { ScalarSet([.range(scalar...scalar)]) }
  static let any = ScalarSet([.range(0...0x10FFFF)])
  static let newline = ScalarSet.only(0x0A)
  static let digit = ScalarSet([.categories(CategorySet(.nd))])
  static let word = ScalarSet([.word])
  static let whitespace = ScalarSet([.whitespace])
  static let hexDigit = ScalarSet([.range(0x30...0x39), .range(0x41...0x46), .range(0x61...0x66)])

  /// The set with the scalars that differ from its own in case only. Scalars that fold to several are left alone.
  var ignoringCase: ScalarSet {
    var members: [Member] = [.set(self)]
    for (scalar, lower) in CaseFolding.pairs where contains(scalar) != contains(lower) {
      let missing = contains(scalar) ? lower : scalar
      members.append(.range(missing...missing))
    }
    return members.count == 1 ? self : ScalarSet(members)
  }
}

/// Which scalars are the same but for case.
enum CaseFolding {
  /// Pairs of scalars: each with the one it folds to, and those that fold to the same one with each other.
  static let pairs: [(UInt32, UInt32)] = {
    var pairs: [(UInt32, UInt32)] = []
    for scalar in 0..<0x1E944 as Range<UInt32> where Lowercase.shared[scalar] != scalar {
      pairs.append((scalar, Lowercase.shared[scalar]))
    }
    // Lowercase letters that fold to another one (CaseFolding.txt, status C), with its capital.
    let others: [(UInt32, UInt32, UInt32)] = [
      (0xB5, 0x3BC, 0x39C), (0x17F, 0x73, 0x53), (0x345, 0x3B9, 0x399), (0x3C2, 0x3C3, 0x3A3), (0x3D0, 0x3B2, 0x392),
      (0x3D1, 0x3B8, 0x398), (0x3D5, 0x3C6, 0x3A6), (0x3D6, 0x3C0, 0x3A0), (0x3F0, 0x3BA, 0x39A),
      (0x3F1, 0x3C1, 0x3A1), (0x3F5, 0x3B5, 0x395), (0x1E9B, 0x1E61, 0x1E60), (0x1FBE, 0x3B9, 0x399),
    ]
    for (variant, lower, upper) in others { pairs += [(variant, lower), (variant, upper)] }
    // Signs with the letters they are capitals of.
    pairs += [(0x212A, 0x4B), (0x212B, 0xC5), (0x2126, 0x3A9), (0x1E9E, 0xDF)]
    return pairs
  }()
}
