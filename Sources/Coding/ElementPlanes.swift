internal import CKernels
internal import EspalierBasics
internal import EspalierNumerics

/// Elements as planes of bytes, the lowest first, each a ``PlaneCoding``.
enum ElementPlanes {
  private static let piece = 512
  private static let pieces = 16

  /// The entropy of each plane in bits an element, by a sample; nil for so few elements that all may be counted.
  ///
  /// Most planes of mantissas are noise: that is seen at a tenth of the cost of counting them.
  private static func sampledBits(_ elements: UnsafeRawPointer, count: Int, of form: ElementForm) -> [Double]? {
    let sampled = piece * pieces
    guard count >= 4 * sampled else { return nil }
    let room = Scratch(byteCount: 2 * sampled * form.width)
    let stride = (count - piece) / (pieces - 1)
    for index in 0..<pieces {
      (room.address + index * piece * form.width)
        .copyMemory(from: elements + index * stride * form.width, byteCount: piece * form.width)
    }
    let planes = (room.address + sampled * form.width).assumingMemoryBound(to: UInt8.self)
    let starts = (0..<form.width).map { Optional(planes + $0 * sampled) }
    es_planes_split(Int32(form.width), Int32(form.turn), room.address, Int64(sampled), starts)
    return withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 256) { counts in
      starts.map { start in
        es_entropy_count(start, Int64(sampled), counts.baseAddress)
        return es_entropy_bits(counts.baseAddress, nil) / Double(sampled)
      }
    }
  }

  /// About how many bytes the planes take; nil for few elements.
  static func estimatedSize(_ elements: UnsafeRawPointer, count: Int, of form: ElementForm) -> Double? {
    sampledBits(elements, count: count, of: form).map { $0.reduce(0, +) * Double(count) / 8 }
  }

  static func encode(
    _ elements: UnsafeRawPointer, count: Int, of form: ElementForm, to writer: inout CodedWriter,
    kernel: es_entropy_kernel
  ) {
    let sampled = sampledBits(elements, count: count, of: form)
    let hopeful = (0..<form.width).map { index in sampled.map { PlaneCoding.isWorthwhile($0[index], of: 1) } ?? true }
    let room = Scratch(byteCount: form.width * count + PlaneCoding.payloadSize(count))
    let bytes = room.address.assumingMemoryBound(to: UInt8.self)
    var planes = (0..<form.width).map { Optional(bytes + $0 * count) }
    // Planes that are stored before any other are split to where they stay.
    let stored = hopeful.firstIndex(of: true) ?? form.width
    for index in 0..<stored {
      guard let place = PlaneCoding.reserve(count, in: &writer) else { return }
      planes[index] = place
    }
    es_planes_split(Int32(form.width), Int32(form.turn), elements, Int64(count), planes)
    for index in stored..<form.width where !writer.hasOverflown {
      let plane = UnsafePointer(planes[index]!)
      if hopeful[index] {
        PlaneCoding.encode(plane, count: count, to: &writer, payload: bytes + form.width * count, kernel: kernel)
      } else {
        PlaneCoding.store(plane, count: count, to: &writer)
      }
    }
  }

  static func decode(
    into elements: UnsafeMutableRawPointer, count: Int, of form: ElementForm, from reader: inout CodedReader,
    kernel: es_entropy_kernel
  ) throws(Problem) {
    try decode(
      into: elements, count: count, width: form.width, turn: form.turn, from: &reader, kernel: kernel)
  }

  /// One plane by itself.
  static func decode(
    plane: UnsafeMutablePointer<UInt8>, count: Int, from reader: inout CodedReader, kernel: es_entropy_kernel
  ) throws(Problem) {
    try decode(into: plane, count: count, width: 1, turn: 0, from: &reader, kernel: kernel)
  }

  private static func decode(
    into elements: UnsafeMutableRawPointer, count: Int, width: Int, turn: Int, from reader: inout CodedReader,
    kernel: es_entropy_kernel
  ) throws(Problem) {
    guard count > 0 else { return }
    let room = Scratch(byteCount: width * MemoryLayout<es_entropy_decoder>.stride)
    let decoders = room.address.assumingMemoryBound(to: es_entropy_decoder.self)
    var sources: [es_plane_source] = []
    for index in 0..<width {
      sources.append(try PlaneCoding.source(count: count, from: &reader, decoder: decoders + index))
    }
    guard es_planes_decode(kernel, Int32(width), Int32(turn), &sources, Int64(count), elements) else {
      throw CodedReader.undecodable
    }
  }
}
