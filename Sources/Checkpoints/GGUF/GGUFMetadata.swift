internal import EspalierBasics

/// What a GGUF file says about its model: typed values by key, in the order of the file.
///
/// Values stay in the bytes of the header and are decoded when they are asked for, so that a vocabulary of 200,000
/// tokens costs nothing to open.
public struct GGUFMetadata: Sendable {
  struct Entry: Sendable {
    var key: String
    var type: GGUFValueType
    /// Of an array: the type of its elements and their number; `bytes` is then what they take.
    var array: (type: GGUFValueType, count: Int)?
    /// Where the value lies in the header; of a string without its length.
    var bytes: Range<Int>
  }

  private var header: [UInt8]
  private var entries: [Entry]
  private var positions: [ExactString: Int]

  init(header: [UInt8], entries: [Entry], positions: [ExactString: Int]) {
    self.header = header
    self.entries = entries
    self.positions = positions
  }

  /// No metadata at all.
  public init() { self.init(header: [], entries: [], positions: [:]) }

  public var keys: [String] { entries.map(\.key) }
  public var count: Int { entries.count }

  /// The type of a value; nil if there is no such key.
  public func type(of key: String) -> GGUFValueType? { positions[ExactString(key)].map { entries[$0].type } }

  public subscript(key: String) -> GGUFValue? { positions[ExactString(key)].map { value(of: entries[$0]) } }

  /// Text under a key; bytes that are no UTF-8 are replaced. Nil if there is none or it is no string.
  public func text(_ key: String) -> String? { self[key]?.text }
  /// The bytes of a string. Nil if there is none or it is no string.
  public func string(_ key: String) -> [UInt8]? { self[key]?.string }
  /// A whole number of any width that fits. Nil if there is none or it is no whole number.
  public func integer(_ key: String) -> Int? { self[key]?.integer }
  /// A number of any type. Nil if there is none or it is no number.
  public func number(_ key: String) -> Double? { self[key]?.number }
  public func truth(_ key: String) -> Bool? { self[key]?.truth }
  public func array(_ key: String) -> GGUFArray? { self[key]?.array }
  /// The strings of an array, as bytes. Nil if there is none or it is no array of strings.
  public func strings(_ key: String) -> [[UInt8]]? { array(key)?.strings }
  /// The numbers of an array of any number type as float32. Nil if there is none or it is no such array.
  public func floats(_ key: String) -> [Float]? { array(key)?.floats }
  /// The numbers of an array of whole numbers. Nil if there is none or it is no such array.
  public func integers(_ key: String) -> [Int]? { array(key)?.integers }

  /// Gives a key a value: in the place of the one it has, or else at the end.
  public mutating func set(_ key: String, to value: GGUFTypedValue) {
    put(key, type: value.type, array: value.array, value.bytes)
  }

  /// Takes over another file's keys that begin with `prefix`, in their order, types and bytes as they are.
  public mutating func copyKeys(beginningWith prefix: String, from other: GGUFMetadata) {
    other.forEachEntry { key, type, array, bytes in
      if key.utf8.starts(with: prefix.utf8) { put(key, type: type, array: array, bytes) }
    }
  }

  private mutating func put(
    _ key: String, type: GGUFValueType, array: (type: GGUFValueType, count: Int)?, _ bytes: some Collection<UInt8>
  ) {
    let entry = Entry(key: key, type: type, array: array, bytes: header.count..<header.count + bytes.count)
    header += bytes
    if let position = positions[ExactString(key)] {
      entries[position] = entry
    } else {
      positions[ExactString(key)] = entries.count
      entries.append(entry)
    }
  }

  /// Takes a key away, if it is there.
  public mutating func remove(_ key: String) {
    guard let position = positions.removeValue(forKey: ExactString(key)) else { return }
    entries.remove(at: position)
    for (other, index) in positions where index > position { positions[other] = index - 1 }
  }

  /// Bytes of keys and values.
  var storedBytes: Int { entries.reduce(0) { $0 + $1.key.utf8.count + 24 + $1.bytes.count } }

  /// Visits keys, types and values as they are stored, in order.
  func forEachEntry(
    _ body: (String, GGUFValueType, (type: GGUFValueType, count: Int)?, ArraySlice<UInt8>) -> Void
  ) {
    for entry in entries { body(entry.key, entry.type, entry.array, header[entry.bytes]) }
  }

  private func value(of entry: Entry) -> GGUFValue {
    if let array = entry.array {
      return .array(GGUFArray(elementType: array.type, count: array.count, bytes: header[entry.bytes]))
    }
    if entry.type == .string { return .string(Array(header[entry.bytes])) }
    return header.withUnsafeBytes { GGUFValue(scalar: entry.type, at: entry.bytes.lowerBound, in: $0) }
  }
}

/// The type of a metadata value, by its number in the file.
public enum GGUFValueType: UInt32, Sendable, Hashable, CaseIterable {
  case u8, i8, u16, i16, u32, i32, f32, bool, string, array, u64, i64, f64

  /// Bytes of a value; nil for those that say their own length.
  public var byteWidth: Int? {
    switch self {
    case .u8, .i8, .bool: 1
    case .u16, .i16: 2
    case .u32, .i32, .f32: 4
    case .u64, .i64, .f64: 8
    case .string, .array: nil
    }
  }
}

/// One metadata value.
public enum GGUFValue: Sendable, Hashable {
  /// Whole numbers of all widths.
  case integer(Int)
  /// A `u64` that does not fit `Int`.
  case unsigned(UInt64)
  case f32(Float)
  case f64(Double)
  case truth(Bool)
  /// Bytes, UTF-8 by the format's word, which nobody checks.
  case string([UInt8])
  case array(GGUFArray)

  /// A value of a fixed width at an offset.
  init(scalar type: GGUFValueType, at offset: Int, in bytes: UnsafeRawBufferPointer) {
    func load<T: FixedWidthInteger>(_ type: T.Type) -> T {
      T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
    }
    switch type {
    case .u8: self = .integer(Int(load(UInt8.self)))
    case .i8: self = .integer(Int(load(Int8.self)))
    case .u16: self = .integer(Int(load(UInt16.self)))
    case .i16: self = .integer(Int(load(Int16.self)))
    case .u32: self = .integer(Int(load(UInt32.self)))
    case .i32: self = .integer(Int(load(Int32.self)))
    case .i64: self = .integer(Int(load(Int64.self)))
    case .u64:
      let value = load(UInt64.self)
      self = Int(exactly: value).map { .integer($0) } ?? .unsigned(value)
    case .f32: self = .f32(Float(bitPattern: load(UInt32.self)))
    case .f64: self = .f64(Double(bitPattern: load(UInt64.self)))
    case .bool: self = .truth(load(UInt8.self) != 0)
    case .string, .array: self = .string([])
    }
  }

  public var integer: Int? { if case .integer(let value) = self { value } else { nil } }
  public var truth: Bool? { if case .truth(let value) = self { value } else { nil } }
  public var string: [UInt8]? { if case .string(let value) = self { value } else { nil } }
  public var text: String? { string.map { String(decoding: $0, as: UTF8.self) } }
  public var array: GGUFArray? { if case .array(let value) = self { value } else { nil } }
  public var number: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .unsigned(let value): Double(value)
    case .f32(let value): Double(value)
    case .f64(let value): value
    default: nil
    }
  }
}

/// An array of metadata values, decoded when it is asked for.
public struct GGUFArray: Sendable, Hashable {
  public let elementType: GGUFValueType
  public let count: Int
  /// The elements as they lie in the file.
  private let bytes: ArraySlice<UInt8>

  init(elementType: GGUFValueType, count: Int, bytes: ArraySlice<UInt8>) {
    self.elementType = elementType
    self.count = count
    self.bytes = bytes
  }

  /// Visits the strings in order; does nothing for other types.
  public func forEachString(_ body: (UnsafeRawBufferPointer) -> Void) {
    guard elementType == .string else { return }
    bytes.withUnsafeBytes { bytes in
      var position = 0
      for _ in 0..<count {
        let length = Int(UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self)))
        position += 8
        body(UnsafeRawBufferPointer(rebasing: bytes[position..<position + length]))
        position += length
      }
    }
  }

  /// The strings as bytes; nil for other types.
  public var strings: [[UInt8]]? {
    guard elementType == .string else { return nil }
    var strings: [[UInt8]] = []
    strings.reserveCapacity(count)
    forEachString { strings.append(Array($0)) }
    return strings
  }

  /// The values of numbers and truth values; nil for strings.
  public var values: [GGUFValue]? {
    guard let width = elementType.byteWidth else { return nil }
    return bytes.withUnsafeBytes { bytes in
      (0..<count).map { GGUFValue(scalar: elementType, at: $0 * width, in: bytes) }
    }
  }

  /// Whole numbers; nil for other types, or if one does not fit.
  public var integers: [Int]? { all(\.integer) }
  /// Numbers as float32; nil for other types.
  public var floats: [Float]? { all { value in value.number.map { Float($0) } } }
  public var truths: [Bool]? { all(\.truth) }

  private func all<T>(_ part: (GGUFValue) -> T?) -> [T]? {
    guard let values else { return nil }
    let parts = values.compactMap(part)
    return parts.count == values.count ? parts : nil
  }
}
