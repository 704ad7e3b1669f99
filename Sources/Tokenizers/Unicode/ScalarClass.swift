/// The general category of a scalar, in the order of the table.
enum GeneralCategory: UInt8, CaseIterable {
  case lu, ll, lt, lm, lo, mn, mc, me, nd, nl, no, pc, pd, ps, pe, pi, pf, po, sm, sc, sk, so, zs, zl, zp, cc, cf, cs,
    co,
    cn

  /// As patterns write it: `Lu`.
  var name: String { "\(self)".prefix(1).uppercased() + "\(self)".dropFirst() }
}

/// A set of general categories.
struct CategorySet: Sendable, Hashable {
  var bits: UInt32

  init(bits: UInt32) { self.bits = bits }
  init(_ categories: GeneralCategory...) {
    bits = categories.reduce(0) { $0 | 1 << UInt32($1.rawValue) }
  }

  func contains(_ category: UInt8) -> Bool { bits >> UInt32(category) & 1 != 0 }
  func union(_ other: CategorySet) -> CategorySet { CategorySet(bits: bits | other.bits) }

  static let letter = CategorySet(.lu, .ll, .lt, .lm, .lo)
  static let mark = CategorySet(.mn, .mc, .me)
  static let number = CategorySet(.nd, .nl, .no)
  static let punctuation = CategorySet(.pc, .pd, .ps, .pe, .pi, .pf, .po)
  static let symbol = CategorySet(.sm, .sc, .sk, .so)
  static let separator = CategorySet(.zs, .zl, .zp)
  static let other = CategorySet(.cc, .cf, .cs, .co, .cn)

  /// The set that a name in `\p{...}` stands for: a category (`Lu`) or a group (`L`).
  init?(named name: String) {
    switch name {
    case "L", "Letter": self = .letter
    case "M", "Mark": self = .mark
    case "N", "Number": self = .number
    case "P", "Punct", "Punctuation": self = .punctuation
    case "S", "Symbol": self = .symbol
    case "Z", "Separator": self = .separator
    case "C", "Other": self = .other
    case "LC", "L&": self = CategorySet(.lu, .ll, .lt)
    default:
      guard let category = GeneralCategory.allCases.first(where: { $0.name == name }) else { return nil }
      self = CategorySet(category)
    }
  }
}

/// What scalars are, by the tables.
enum ScalarClass {
  /// Properties that the parts of the reference library take from other Unicode versions than its patterns.
  struct Flags: OptionSet, Sendable {
    let rawValue: UInt8
    /// `\w` of the word splitter: letters, marks, digits, connectors, joiners.
    static let word = Flags(rawValue: 1 << 0)
    /// `\w` inside patterns.
    static let patternWord = Flags(rawValue: 1 << 1)
    static let numeric = Flags(rawValue: 1 << 2)
    static let punctuation = Flags(rawValue: 1 << 3)
    static let nonspacingMark = Flags(rawValue: 1 << 4)
    /// Control, format, private use.
    static let other = Flags(rawValue: 1 << 5)
    static let combiningMark = Flags(rawValue: 1 << 6)
    /// Has a script for the splitter at script changes.
    static let scripted = Flags(rawValue: 1 << 7)
  }

  static let categories = ScalarTable(runs: UnicodeTables.categories)
  static let flagTable = ScalarTable(runs: UnicodeTables.flags)
  static let scriptTable = ScalarTable(runs: UnicodeTables.scripts)
  static let scriptNames = String(decoding: UnicodeTables.bytes(UnicodeTables.scriptNames), as: UTF8.self)
    .split(separator: " ").map(String.init)

  static func flags(_ scalar: UInt32) -> Flags { Flags(rawValue: flagTable[scalar]) }
  static func category(_ scalar: UInt32) -> UInt8 { categories[scalar] }

  /// The property White_Space, unchanged since Unicode 6.3.
  static func isWhitespace(_ scalar: UInt32) -> Bool {
    switch scalar {
    case 0x20, 0x09...0x0D, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: true
    default: false
    }
  }
}
