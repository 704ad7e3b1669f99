internal import CKernels
internal import EspalierBasics
internal import EspalierNumerics

/// One plane of bytes: stored, or one byte for all, or coded by how often each symbol occurs.
///
/// A plane of no bytes is nothing. Any other begins with a byte that says how it is coded:
///
///     0   the bytes
///     1   the byte that all are
///     2   a ``FrequencyTable``, the size of what follows in 4 bytes, what `es_entropy_encode` writes
enum PlaneCoding {
  private enum Method: UInt8 { case stored, constant, coded }

  /// What coding must save to be worth the time: a sixty-fourth.
  static func isWorthwhile(_ bits: Double, of count: Int) -> Bool {
    bits < Double(8 * count) * (63.0 / 64)
  }

  /// Bytes that ``encode(_:count:to:payload:kernel:)`` needs as `payload`.
  static func payloadSize(_ count: Int) -> Int { Int(ES_ENTROPY_STATES) + 2 * count }

  /// Codes a plane the shortest way.
  ///
  /// - Parameter payload: room for ``payloadSize(_:)`` bytes.
  static func encode(
    _ plane: UnsafePointer<UInt8>, count: Int, to writer: inout CodedWriter, payload: UnsafeMutablePointer<UInt8>,
    kernel: es_entropy_kernel
  ) {
    guard count > 0 else { return }
    withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 256) { counts in
      let counts = counts.baseAddress!
      es_entropy_count(plane, Int64(count), counts)
      if counts[Int(plane[0])] == count {
        writer.append(Method.constant.rawValue)
        writer.append(plane[0])
        return
      }
      let bits = es_entropy_bits(counts, nil) + FrequencyTable.bits(counts: counts) + 8 * Double(payloadSize(0))
      guard isWorthwhile(bits, of: count) else { return store(plane, count: count, to: &writer) }
      let table = FrequencyTable(counts: counts)
      writer.append(Method.coded.rawValue)
      table.write(to: &writer)
      withUnsafeTemporaryAllocation(of: es_entropy_encoder.self, capacity: 1) { encoder in
        table.makeEncoder(encoder.baseAddress!)
        writer.append(
          symbols: plane, count: count, contexts: nil, encoders: encoder.baseAddress!, payload: payload, kernel: kernel)
      }
    }
  }

  static func store(_ plane: UnsafePointer<UInt8>, count: Int, to writer: inout CodedWriter) {
    reserve(count, in: &writer)?.update(from: plane, count: count)
  }

  /// The place of a stored plane, for the caller to fill; nil if there is no room.
  static func reserve(_ count: Int, in writer: inout CodedWriter) -> UnsafeMutablePointer<UInt8>? {
    writer.append(Method.stored.rawValue)
    return writer.reserve(count)
  }

  /// Reads a plane of `count` bytes, to be decoded.
  ///
  /// - Parameter decoder: room for one; the source refers to it.
  static func source(
    count: Int, from reader: inout CodedReader, decoder: UnsafeMutablePointer<es_entropy_decoder>
  ) throws(Problem) -> es_plane_source {
    var source = es_plane_source()
    switch Method(rawValue: try reader.byte()) {
    case .stored: source.bytes = try reader.take(count).baseAddress?.assumingMemoryBound(to: UInt8.self)
    case .constant: source.constant = try reader.byte()
    case .coded:
      try FrequencyTable(from: &reader).makeDecoder(decoder)
      source.decoder = UnsafePointer(decoder)
      source.stream = try reader.stream()
    case nil: throw CodedReader.damaged("a plane is coded in no known way")
    }
    return source
  }
}

extension CodedWriter {
  /// The size in 4 bytes and what the coder makes of symbols.
  mutating func append(
    symbols: UnsafePointer<UInt8>, count: Int, contexts: UnsafePointer<UInt8>?,
    encoders: UnsafePointer<es_entropy_encoder>, payload: UnsafeMutablePointer<UInt8>, kernel: es_entropy_kernel
  ) {
    let end = payload + PlaneCoding.payloadSize(count)
    let size = Int(es_entropy_encode(kernel, encoders, contexts, symbols, Int64(count), end))
    append(integer: UInt32(size))
    append(UnsafeRawBufferPointer(start: end - size, count: size))
  }
}

extension CodedReader {
  /// The inverse of ``CodedWriter/append(symbols:count:contexts:encoders:payload:kernel:)``: symbols to be decoded.
  mutating func stream() throws(Problem) -> es_entropy_stream {
    let coded = try take(Int(try integer(UInt32.self)))
    var stream = es_entropy_stream()
    guard
      es_entropy_begin(coded.baseAddress?.assumingMemoryBound(to: UInt8.self), Int64(coded.count), &stream)
    else { throw Self.undecodable }
    return stream
  }

  static var undecodable: Problem { damaged("what is coded by frequencies does not decode") }
}
