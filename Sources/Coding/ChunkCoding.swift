internal import CKernels
public import EspalierBasics
public import EspalierNumerics

/// Chunks of elements in fewer bytes, every bit kept.
///
/// A chunk is coded by itself, so that chunks are coded and decoded by any thread in any order; 256 KiB to 1 MiB are
/// good sizes. Coded bytes depend on nothing but chunk, type and base: not on the processor, nor on threads. They have
/// no checksum: damage that leaves them well-formed gives other elements.
///
/// Coded, a chunk begins with a byte, 16 method + type:
///
///     method 0   stored: the bytes
///     method 1   elements split into planes of bytes (`planes.h`), each a ``PlaneCoding``, the lowest first
///     method 2   the same of the exclusive or with the base (integers)
///     method 3   ``DifferenceCoding``: differences from the base (floats)
///     type       1 to 4 integers of 1, 2, 4, 8 bytes; 5 f16, 6 bf16, 7 f32, 8 f64, 9 f8e4m3, 10 f8e5m2
///
/// Methods 1 to 3 end with the bytes after the last whole element.
public enum ChunkCoding {
  private enum Method: UInt8 { case stored, planes, exclusive, differences }

  /// The most bytes that a chunk is coded in: one more than it has.
  public static func mostBytes(for byteCount: Int) -> Int { byteCount + 1 }

  /// Codes a chunk.
  ///
  /// - Parameters:
  ///   - chunk: elements, little-endian, at any address; any number of bytes, an incomplete last element too. At most
  ///     1 GiB.
  ///   - base: as many bytes of the same type, if the chunk may be coded against them; it then is if that is shorter.
  ///   - coded: room for ``mostBytes(for:)``, apart from the chunk.
  /// - Returns: how many bytes were written.
  public static func encode(
    _ chunk: UnsafeRawBufferPointer, of type: ElementType, against base: UnsafeRawBufferPointer? = nil,
    into coded: UnsafeMutableRawBufferPointer
  ) -> Int {
    encode(chunk, of: type, against: base, into: coded, kernel: es_entropy_fastest_kernel())
  }

  /// Codes a chunk into bytes of its own.
  public static func encode(
    _ chunk: UnsafeRawBufferPointer, of type: ElementType, against base: UnsafeRawBufferPointer? = nil
  ) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: mostBytes(for: chunk.count)) { room, count in
      let room = UnsafeMutableRawBufferPointer(start: room.baseAddress, count: mostBytes(for: chunk.count))
      count = encode(chunk, of: type, against: base, into: room)
    }
  }

  /// Whether coded bytes need the base to be decoded.
  public static func needsBase(_ coded: UnsafeRawBufferPointer) -> Bool {
    coded.first.map { $0 >> 4 >= Method.exclusive.rawValue } ?? false
  }

  /// Decodes a chunk.
  ///
  /// - Parameters:
  ///   - coded: what ``encode(_:of:against:into:)`` wrote, all of it.
  ///   - base: what the chunk was coded against; not looked at if it was not.
  ///   - chunk: as many bytes as were coded, apart from the base. Undefined if this throws.
  /// - Throws: ``Problem`` with code `coding.damaged` if the bytes are not what the encoder writes for a chunk of this
  ///   size, `coding.base` if a base is needed and missing or of another size. Never reads or writes elsewhere.
  public static func decode(
    _ coded: UnsafeRawBufferPointer, against base: UnsafeRawBufferPointer? = nil,
    into chunk: UnsafeMutableRawBufferPointer
  ) throws(Problem) {
    try decode(coded, against: base, into: chunk, kernel: es_entropy_fastest_kernel())
  }

  // MARK: - By one kernel

  static func encode(
    _ chunk: UnsafeRawBufferPointer, of type: ElementType, against base: UnsafeRawBufferPointer?,
    into coded: UnsafeMutableRawBufferPointer, kernel: es_entropy_kernel
  ) -> Int {
    precondition(coded.count >= mostBytes(for: chunk.count), "room for a coded chunk")
    precondition(base == nil || base?.count == chunk.count, "a base of the chunk's size")
    precondition(chunk.count <= 1 << 30, "a chunk of at most 1 GiB")
    let form = ElementForm(type)
    let count = chunk.count / form.width
    var best = 0
    if let base, let bytes = base.baseAddress, chunk.count >= form.width {
      var writer = start(form.isFloat ? .differences : .exclusive, form, chunk, into: coded)
      if form.isFloat {
        DifferenceCoding.encode(
          chunk.baseAddress!, base: bytes, count: count, of: form, to: &writer, kernel: kernel)
      } else {
        let apart = Scratch(byteCount: chunk.count)
        let mixed = apart.address.assumingMemoryBound(to: UInt8.self)
        es_planes_xor(
          chunk.baseAddress!.assumingMemoryBound(to: UInt8.self), bytes.assumingMemoryBound(to: UInt8.self),
          Int64(chunk.count), mixed)
        ElementPlanes.encode(mixed, count: count, of: form, to: &writer, kernel: kernel)
      }
      best = finish(&writer, chunk, form)
      // Coding without the base is tried unless it surely is no better.
      let alone = ElementPlanes.estimatedSize(chunk.baseAddress!, count: count, of: form) ?? 0
      if best > 0, Double(best) < max(0.9 * alone, Double(chunk.count) / 16) { return best }
    }
    guard let address = chunk.baseAddress, chunk.count >= form.width else { return store(chunk, form, into: coded) }
    if best == 0 {
      var writer = start(.planes, form, chunk, into: coded)
      ElementPlanes.encode(address, count: count, of: form, to: &writer, kernel: kernel)
      best = finish(&writer, chunk, form)
      return best > 0 ? best : store(chunk, form, into: coded)
    }
    let other = Scratch(byteCount: chunk.count)
    let room = UnsafeMutableRawBufferPointer(start: other.address, count: best - 1)
    var writer = start(.planes, form, chunk, into: room)
    ElementPlanes.encode(address, count: count, of: form, to: &writer, kernel: kernel)
    let plain = finish(&writer, chunk, form)
    guard plain > 0 else { return best }
    coded.copyMemory(from: UnsafeRawBufferPointer(start: other.address, count: plain))
    return plain
  }

  static func decode(
    _ coded: UnsafeRawBufferPointer, against base: UnsafeRawBufferPointer?, into chunk: UnsafeMutableRawBufferPointer,
    kernel: es_entropy_kernel
  ) throws(Problem) {
    var reader = CodedReader(coded)
    let head = try reader.byte()
    guard let method = Method(rawValue: head >> 4), let form = ElementForm(code: head & 15) else {
      throw CodedReader.damaged("it begins with \(head), which stands for no method and type")
    }
    let rest = method == .stored ? chunk.count : chunk.count % form.width
    if method != .stored, let address = chunk.baseAddress {
      let count = chunk.count / form.width
      if method == .planes {
        try ElementPlanes.decode(into: address, count: count, of: form, from: &reader, kernel: kernel)
      } else {
        guard let base, base.count == chunk.count, let bytes = base.baseAddress else {
          throw Problem(
            .codingBase,
            "a chunk of \(chunk.count) bytes is coded against \(chunk.count) bytes of a base; given are "
              + (base.map { "\($0.count)" } ?? "none"),
            remedy: "name the model that it was packed against")
        }
        if method == .exclusive {
          try ElementPlanes.decode(into: address, count: count, of: form, from: &reader, kernel: kernel)
          let mixed = address.assumingMemoryBound(to: UInt8.self)
          es_planes_xor(mixed, bytes.assumingMemoryBound(to: UInt8.self), Int64(count * form.width), mixed)
        } else {
          try DifferenceCoding.decode(
            into: address, base: bytes, count: count, of: form, from: &reader, kernel: kernel)
        }
      }
    }
    let last = try reader.take(rest)
    if rest > 0 { UnsafeMutableRawBufferPointer(rebasing: chunk[(chunk.count - rest)...]).copyMemory(from: last) }
    guard reader.isAtEnd else { throw CodedReader.damaged("bytes are left over") }
  }

  // MARK: - Parts

  /// A writer that is full as soon as storing would be shorter.
  private static func start(
    _ method: Method, _ form: ElementForm, _ chunk: UnsafeRawBufferPointer, into coded: UnsafeMutableRawBufferPointer
  ) -> CodedWriter {
    var writer = CodedWriter(into: UnsafeMutableRawBufferPointer(rebasing: coded[..<min(coded.count, chunk.count)]))
    writer.append(method.rawValue << 4 | form.code)
    return writer
  }

  /// Adds the incomplete last element. 0 if all of it did not fit.
  private static func finish(
    _ writer: inout CodedWriter, _ chunk: UnsafeRawBufferPointer, _ form: ElementForm
  ) -> Int {
    writer.append(UnsafeRawBufferPointer(rebasing: chunk[(chunk.count - chunk.count % form.width)...]))
    return writer.hasOverflown ? 0 : writer.count
  }

  private static func store(
    _ chunk: UnsafeRawBufferPointer, _ form: ElementForm, into coded: UnsafeMutableRawBufferPointer
  ) -> Int {
    var writer = CodedWriter(into: coded)
    writer.append(Method.stored.rawValue << 4 | form.code)
    writer.append(chunk)
    return writer.count
  }
}
