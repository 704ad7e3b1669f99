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
///     method 4   ``LatticeCoding``: integers times steps (floats)
///     type       1 to 4 integers of 1, 2, 4, 8 bytes; 5 f16, 6 bf16, 7 f32, 8 f64, 9 f8e4m3, 10 f8e5m2
///
/// Methods 1 to 4 end with the bytes after the last whole element.
public enum ChunkCoding {
  private enum Method: UInt8 { case stored, planes, exclusive, differences, lattice }

  /// The most bytes that a chunk is coded in: one more than it has.
  public static func mostBytes(for byteCount: Int) -> Int { byteCount + 1 }

  /// Codes a chunk.
  ///
  /// - Parameters:
  ///   - chunk: elements, little-endian, at any address; any number of bytes, an incomplete last element too. At most
  ///     1 GiB.
  ///   - base: as many bytes of the same type, if the chunk may be coded against them; it then is if that is shorter.
  ///   - lattice: what the numbers may be integer multiples of; used if they are, and the base is not.
  ///   - coded: room for ``mostBytes(for:)``, apart from the chunk.
  /// - Returns: how many bytes were written.
  public static func encode(
    _ chunk: UnsafeRawBufferPointer, of type: ElementType, against base: UnsafeRawBufferPointer? = nil,
    on lattice: ChunkLattice? = nil, into coded: UnsafeMutableRawBufferPointer
  ) -> Int {
    encode(chunk, of: type, against: base, on: lattice, into: coded, kernel: es_entropy_fastest_kernel())
  }

  /// Codes a chunk into bytes of its own.
  public static func encode(
    _ chunk: UnsafeRawBufferPointer, of type: ElementType, against base: UnsafeRawBufferPointer? = nil,
    on lattice: ChunkLattice? = nil
  ) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: mostBytes(for: chunk.count)) { room, count in
      let room = UnsafeMutableRawBufferPointer(start: room.baseAddress, count: mostBytes(for: chunk.count))
      count = encode(chunk, of: type, against: base, on: lattice, into: room)
    }
  }

  /// Whether coded bytes need the base to be decoded.
  public static func needsBase(_ coded: UnsafeRawBufferPointer) -> Bool {
    coded.first.map { [Method.exclusive.rawValue, Method.differences.rawValue].contains($0 >> 4) } ?? false
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
    on lattice: ChunkLattice? = nil, into coded: UnsafeMutableRawBufferPointer, kernel: es_entropy_kernel
  ) -> Int {
    precondition(coded.count >= mostBytes(for: chunk.count), "room for a coded chunk")
    precondition(base == nil || base?.count == chunk.count, "a base of the chunk's size")
    precondition(chunk.count <= 1 << 30, "a chunk of at most 1 GiB")
    let form = ElementForm(type)
    let count = chunk.count / form.width
    guard let elements = chunk.baseAddress, count > 0 else { return store(chunk, form, into: coded) }

    /// How many bytes a method writes; nil if storing is as short, or there is no room.
    func attempt(
      _ method: Method, into room: UnsafeMutableRawBufferPointer, _ body: (inout CodedWriter) -> Bool
    ) -> Int? {
      var writer = CodedWriter(into: UnsafeMutableRawBufferPointer(rebasing: room[..<min(room.count, chunk.count)]))
      writer.append(method.rawValue << 4 | form.code)
      guard body(&writer) else { return nil }
      writer.append(UnsafeRawBufferPointer(rebasing: chunk[(count * form.width)...]))
      return writer.hasOverflown ? nil : writer.count
    }
    func encodeAlone(into room: UnsafeMutableRawBufferPointer) -> Int? {
      attempt(.planes, into: room) {
        ElementPlanes.encode(elements, count: count, of: form, to: &$0, kernel: kernel)
        return true
      }
    }
    func encode(on lattice: ChunkLattice) -> Int? {
      attempt(.lattice, into: coded) {
        LatticeCoding.encode(elements, count: count, of: form, on: lattice, to: &$0, kernel: kernel)
      }
    }
    func encodeAgainst(_ base: UnsafeRawPointer) -> Int? {
      guard !form.isFloat else {
        return attempt(.differences, into: coded) {
          DifferenceCoding.encode(elements, base: base, count: count, of: form, to: &$0, kernel: kernel)
          return true
        }
      }
      let mixed = Scratch(byteCount: chunk.count)
      es_planes_xor(elements, base, Int64(chunk.count), mixed.address)
      return attempt(.exclusive, into: coded) {
        ElementPlanes.encode(mixed.address, count: count, of: form, to: &$0, kernel: kernel)
        return true
      }
    }

    var first = base?.baseAddress.flatMap { encodeAgainst($0) }
    if first == nil, let lattice { first = encode(on: lattice) }
    guard let against = first else { return encodeAlone(into: coded) ?? store(chunk, form, into: coded) }
    // Coding as planes is tried unless it surely is no better.
    let alone = ElementPlanes.estimatedSize(elements, count: count, of: form) ?? 0
    if Double(against) < max(0.9 * alone, Double(chunk.count) / 16) { return against }
    let other = Scratch(byteCount: chunk.count)
    let shorter = UnsafeMutableRawBufferPointer(start: other.address, count: against - 1)
    guard let size = encodeAlone(into: shorter) else { return against }
    coded.copyMemory(from: UnsafeRawBufferPointer(rebasing: shorter[..<size]))
    return size
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
      } else if method == .lattice {
        try LatticeCoding.decode(into: address, count: count, of: form, from: &reader, kernel: kernel)
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
          es_planes_xor(address, bytes, Int64(count * form.width), address)
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

  private static func store(
    _ chunk: UnsafeRawBufferPointer, _ form: ElementForm, into coded: UnsafeMutableRawBufferPointer
  ) -> Int {
    var writer = CodedWriter(into: coded)
    writer.append(Method.stored.rawValue << 4 | form.code)
    writer.append(chunk)
    return writer.count
  }
}
