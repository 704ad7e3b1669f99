/// The four normalization forms of Unicode (UAX #15), with what became of every scalar.
enum NormalizationForm: Sendable {
  case nfc, nfd, nfkc, nfkd

  var composes: Bool { self == .nfc || self == .nfkc }
  private var isCompatible: Bool { self == .nfkc || self == .nfkd }

  /// Every scalar below this is left alone by the form, and nothing before it is joined with it.
  var inertBelow: UInt32 { self == .nfc ? 0x300 : self == .nfd ? 0xC0 : 0xA0 }

  /// Brings a text into this form.
  func normalize(_ text: inout AlignedText) {
    guard text.bytes.contains(where: { $0 >= 0x80 }) else { return }
    var edit = TextEdit(text)
    var stretch: [UInt32] = []
    var changes: [(scalar: UInt32, change: Int)] = []
    text.bytes.withUnsafeBufferPointer { bytes in
      var position = 0
      while position < bytes.count {
        // Inert scalars are copied; the last of them may be joined with what follows.
        var boundary = position
        while position < bytes.count {
          let (scalar, length) = UTF8Reading.scalar(bytes, at: position)
          guard scalar < inertBelow else { break }
          boundary = position
          position += length
        }
        guard position < bytes.count else {
          edit.copy(to: position)
          return
        }
        edit.copy(to: boundary)
        stretch.removeAll(keepingCapacity: true)
        position = boundary
        repeat {
          let (scalar, length) = UTF8Reading.scalar(bytes, at: position)
          stretch.append(scalar)
          position += length
        } while position < bytes.count && UTF8Reading.scalar(bytes, at: position).value >= inertBelow
        changes.removeAll(keepingCapacity: true)
        normalize(stretch, into: &changes)
        for (scalar, change) in changes { edit.write(scalar, change: change) }
      }
    }
    text = edit.finished()
  }

  /// The form of some scalars; changes are those of ``TextEdit``.
  func normalize(_ scalars: [UInt32], into result: inout [(scalar: UInt32, change: Int)]) {
    let data = NormalizationData.shared
    let first = result.count
    // Where the scalars begin that may still change places: those after the last starter.
    var pending = first
    for scalar in scalars {
      var change = 0
      data.decompose(scalar, compatible: isCompatible) { part in
        if data.combiningClass(part) == 0 {
          data.sort(&result, from: pending)
          result.append((part, change))
          pending = result.count
        } else {
          result.append((part, change))
        }
        change = 1
      }
    }
    data.sort(&result, from: pending)
    if composes { compose(&result, from: first, data) }
  }

  /// The canonical composition algorithm (UAX #15, D117).
  private func compose(_ result: inout [(scalar: UInt32, change: Int)], from first: Int, _ data: NormalizationData) {
    var starter: Int? = nil
    var lastClass: UInt8? = nil
    var end = first
    for index in first..<result.count {
      let (scalar, change) = result[index]
      let combiningClass = data.combiningClass(scalar)
      if let at = starter {
        let isBlocked = lastClass.map { $0 >= combiningClass } ?? false
        if !isBlocked, let composite = data.composite(result[at].scalar, scalar) {
          result[at] = (composite, result[at].change + change - 1)
          continue
        }
      }
      result[end] = (scalar, change)
      if combiningClass == 0 {
        starter = end
        lastClass = nil
      } else {
        lastClass = starter == nil ? nil : combiningClass
      }
      end += 1
    }
    result.removeSubrange(end...)
  }
}

/// Decompositions, combining classes and composites.
struct NormalizationData: Sendable {
  static let shared = NormalizationData()

  private let classes = ScalarTable(runs: UnicodeTables.combiningClasses)
  private let canonical: [UInt32: [UInt32]]
  private let compatibility: [UInt32: [UInt32]]
  private let composites: [UInt64: UInt32]

  private init() {
    canonical = Self.decompositions(UnicodeTables.canonical)
    compatibility = Self.decompositions(UnicodeTables.compatibility)
    var reader = PackedReader(UnicodeTables.bytes(UnicodeTables.composites))
    var composites: [UInt64: UInt32] = [:]
    var scalar = 0
    while !reader.isAtEnd {
      scalar += reader.number()
      let first = UInt64(reader.number())
      composites[first << 32 | UInt64(reader.number())] = UInt32(scalar)
    }
    self.composites = composites
  }

  private static func decompositions(_ text: StaticString) -> [UInt32: [UInt32]] {
    var reader = PackedReader(UnicodeTables.bytes(text))
    var result: [UInt32: [UInt32]] = [:]
    var scalar = 0
    while !reader.isAtEnd {
      scalar += reader.number()
      let count = Int(reader.byte())
      result[UInt32(scalar)] = Array(reader.take(count)).withUnsafeBufferPointer { UTF8Reading.scalars($0) }
    }
    return result
  }

  func combiningClass(_ scalar: UInt32) -> UInt8 { scalar < 0x300 ? 0 : classes[scalar] }

  /// Calls `body` with each scalar of the full decomposition.
  func decompose(_ scalar: UInt32, compatible: Bool, _ body: (UInt32) -> Void) {
    if scalar >= 0xAC00, scalar < 0xAC00 + 11_172 {
      // Hangul syllables are composed by arithmetic (Unicode, section 3.12).
      let index = scalar - 0xAC00
      body(0x1100 + index / 588)
      body(0x1161 + index % 588 / 28)
      if index % 28 != 0 { body(0x11A7 + index % 28) }
      return
    }
    if scalar >= 0xA0 {
      if compatible, let parts = compatibility[scalar] { return parts.forEach(body) }
      if let parts = canonical[scalar] { return parts.forEach(body) }
    }
    body(scalar)
  }

  /// The primary composite of two scalars.
  func composite(_ first: UInt32, _ second: UInt32) -> UInt32? {
    if first >= 0x1100, first < 0x1113, second >= 0x1161, second < 0x1176 {
      return 0xAC00 + ((first - 0x1100) * 21 + second - 0x1161) * 28
    }
    if first >= 0xAC00, first < 0xAC00 + 11_172, (first - 0xAC00) % 28 == 0, second > 0x11A7, second < 0x11C3 {
      return first + second - 0x11A7
    }
    return composites[UInt64(first) << 32 | UInt64(second)]
  }

  /// Orders scalars by combining class; equal classes stay in order.
  func sort(_ scalars: inout [(scalar: UInt32, change: Int)], from first: Int) {
    guard scalars.count - first > 1 else { return }
    // Insertion sort is stable; marks that pile up in the hundreds are sorted by merging instead.
    if scalars.count - first > 64 {
      let sorted = scalars[first...].enumerated().sorted {
        (combiningClass($0.element.scalar), $0.offset) < (combiningClass($1.element.scalar), $1.offset)
      }
      for (index, item) in sorted.enumerated() { scalars[first + index] = item.element }
      return
    }
    for index in first + 1..<scalars.count {
      let item = scalars[index]
      let itemClass = combiningClass(item.scalar)
      var place = index
      while place > first, combiningClass(scalars[place - 1].scalar) > itemClass {
        scalars[place] = scalars[place - 1]
        place -= 1
      }
      scalars[place] = item
    }
  }
}
