internal import CKernels
internal import EspalierBasics
internal import EspalierNumerics

/// Symbols coded by how often each occurs in a context; contexts are ranges of a key of one byte, chosen so that symbols
/// and tables together are short.
///
/// Coded:
///
///     0, then the symbol that all are; or
///     the number of contexts, 1 ... 16; for each but the first the first key in it, increasing; a ``FrequencyTable``
///     each; the size of what follows in 4 bytes; what `es_entropy_encode` writes
struct ContextCoding {
  static let mostContexts = 16

  /// The first key of each context; that of the first is 0.
  private(set) var starts: [Int] = []
  private var tables: [FrequencyTable] = []
  /// The symbol that all are.
  private var constant: UInt8?
  /// About what symbols and tables take.
  private(set) var bits = 0.0

  /// Finds contexts.
  ///
  /// Neighbouring keys are joined, each time where it costs least, while that makes the whole shorter or there are too
  /// many.
  ///
  /// - Parameter counts: of symbols by keys, 256 for each of 256 keys; used up.
  init(counts: UnsafeMutablePointer<UInt32>) {
    var groups: [Group] = []
    for key in 0..<256 {
      let row = counts + 256 * key
      guard (0..<256).contains(where: { row[$0] > 0 }) else { continue }
      groups.append(Group(key: key, counts: row))
    }
    var joined = zip(groups, groups.dropFirst()).map { $0.joinedBits($1) }
    while groups.count > 1 {
      let costs = joined.indices.map { joined[$0] - groups[$0].bits - groups[$0 + 1].bits }
      let best = costs.indices.min { costs[$0] < costs[$1] }!
      guard costs[best] <= 0 || groups.count > Self.mostContexts else { break }
      groups[best].join(groups.remove(at: best + 1), bits: joined[best])
      joined.remove(at: best)
      if best < joined.count { joined[best] = groups[best].joinedBits(groups[best + 1]) }
      if best > 0 { joined[best - 1] = groups[best - 1].joinedBits(groups[best]) }
    }
    bits = groups.reduce(0) { $0 + $1.bits }
    if groups.count == 1, let symbol = groups[0].onlySymbol {
      constant = UInt8(symbol)
      bits = 0
    }
    starts = groups.indices.map { $0 == 0 ? 0 : groups[$0].key }
    tables = groups.map { FrequencyTable(counts: $0.counts) }
  }

  private struct Group {
    let key: Int
    let counts: UnsafeMutablePointer<UInt32>
    var bits: Double

    init(key: Int, counts: UnsafeMutablePointer<UInt32>) {
      self.key = key
      self.counts = counts
      bits = es_entropy_bits(counts, nil) + FrequencyTable.bits(counts: counts)
    }

    func joinedBits(_ next: Group) -> Double {
      withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 256) { both in
        for symbol in 0..<256 { both[symbol] = counts[symbol] &+ next.counts[symbol] }
        return es_entropy_bits(both.baseAddress!, nil) + FrequencyTable.bits(counts: both.baseAddress!)
      }
    }

    mutating func join(_ next: Group, bits: Double) {
      for symbol in 0..<256 { counts[symbol] &+= next.counts[symbol] }
      self.bits = bits
    }

    var onlySymbol: Int? {
      let used = (0..<256).filter { counts[$0] > 0 }
      return used.count == 1 ? used[0] : nil
    }
  }

  /// Codes symbols.
  ///
  /// - Parameters:
  ///   - keys: of the symbols; contexts afterwards.
  ///   - payload: room for ``PlaneCoding/payloadSize(_:)`` bytes.
  func encode(
    _ symbols: UnsafePointer<UInt8>, keys: UnsafeMutablePointer<UInt8>, count: Int, to writer: inout CodedWriter,
    payload: UnsafeMutablePointer<UInt8>, kernel: es_entropy_kernel
  ) {
    if let constant {
      writer.append(0)
      writer.append(constant)
      return
    }
    writer.append(UInt8(starts.count))
    for start in starts.dropFirst() { writer.append(UInt8(start)) }
    for table in tables { table.write(to: &writer) }
    let room = Scratch(byteCount: starts.count * MemoryLayout<es_entropy_encoder>.stride)
    let encoders = room.address.assumingMemoryBound(to: es_entropy_encoder.self)
    for (index, table) in tables.enumerated() { table.makeEncoder(encoders + index) }
    turn(keys, count: count)
    writer.append(
      symbols: symbols, count: count, contexts: starts.count > 1 ? UnsafePointer(keys) : nil, encoders: encoders,
      payload: payload, kernel: kernel)
  }

  /// Keys into contexts.
  private func turn(_ keys: UnsafeMutablePointer<UInt8>, count: Int) {
    let later = starts.dropFirst().map { UInt8($0) }
    if !later.isEmpty { es_difference_contexts(later, Int32(later.count), keys, Int64(count)) }
  }

  /// Reads contexts and tables.
  init(from reader: inout CodedReader) throws(Problem) {
    let count = Int(try reader.byte())
    guard count > 0 else {
      constant = try reader.byte()
      return
    }
    guard count <= Self.mostContexts else { throw CodedReader.damaged("\(count) contexts") }
    starts = [0]
    for _ in 1..<count {
      let start = Int(try reader.byte())
      guard start > starts.last! else { throw CodedReader.damaged("contexts are out of order") }
      starts.append(start)
    }
    for _ in 0..<count { tables.append(try FrequencyTable(from: &reader)) }
  }

  /// The last symbol that occurs.
  var lastSymbol: Int { constant.map(Int.init) ?? tables.map(\.last).max() ?? 0 }

  /// Decodes symbols.
  ///
  /// - Parameter keys: gives the keys of the symbols if there is more than one context; contexts afterwards.
  func decode(
    into symbols: UnsafeMutablePointer<UInt8>, keys: UnsafeMutablePointer<UInt8>, count: Int,
    from reader: inout CodedReader, kernel: es_entropy_kernel
  ) throws(Problem) {
    if let constant { return symbols.update(repeating: constant, count: count) }
    let room = Scratch(byteCount: tables.count * MemoryLayout<es_entropy_decoder>.stride)
    let decoders = room.address.assumingMemoryBound(to: es_entropy_decoder.self)
    for (index, table) in tables.enumerated() { try table.makeDecoder(decoders + index) }
    turn(keys, count: count)
    var stream = try reader.stream()
    guard
      es_entropy_decode(
        kernel, &stream, decoders, tables.count > 1 ? UnsafePointer(keys) : nil, symbols, Int64(count)),
      es_entropy_end(&stream)
    else { throw CodedReader.undecodable }
  }
}
