internal import CKernels
internal import EspalierBasics
internal import EspalierNumerics

/// Floats coded by what they differ from those of a base (`differences.h`).
///
/// Coded:
///
///     shift                  the low bits that are 0 in all elements of both
///     exact count + 128 key  entries of the dictionary, and the key of contexts: 0 the base's exponent, 1 its mantissa
///     entries                8 bytes each
///     symbols                ``ContextCoding``
///     exponents              of the far elements, ``PlaneCoding``
///     bits
enum DifferenceCoding {
  private static let mostExact = Int(ES_DIFFERENCE_MOST_EXACT)

  /// Bytes of symbols, keys, and exponents, 64 for what is read or written past an end.
  private static func roomSize(_ count: Int) -> Int { 3 * count + 64 }

  static func encode(
    _ elements: UnsafeRawPointer, base: UnsafeRawPointer, count: Int, of type: ElementForm,
    to writer: inout CodedWriter,
    kernel: es_entropy_kernel
  ) {
    guard count > 0 else { return }
    let zeros = Int(es_difference_common_zeros(Int32(type.width), elements, base, Int64(count)))
    let shift = min(zeros, type.mantissa)
    let form = type.differences(shift: shift)
    let exact = frequentDifferences(elements, base: base, count: count, form: form)
    var table = es_difference_make_symbols(form, exact, Int32(exact.count))
    let room = Scratch(byteCount: roomSize(count))
    let symbols = room.address.assumingMemoryBound(to: UInt8.self)
    let keys = symbols + count
    let exponents = keys + count
    es_difference_encode(form, &table, elements, base, Int64(count), symbols)
    var key = es_difference_key.exponent
    let contexts = bestContexts(symbols, base: base, count: count, form: form, exact: exact, keys: keys, key: &key)
    writer.append(UInt8(shift))
    writer.append(UInt8(exact.count) | UInt8(key.rawValue) << 7)
    for difference in exact { writer.append(integer: difference) }
    let rest = es_difference_measure_rest(form, &table, symbols, Int64(count))
    let payloadRoom = Scratch(byteCount: PlaneCoding.payloadSize(count))
    let payload = payloadRoom.address.assumingMemoryBound(to: UInt8.self)
    contexts.encode(symbols, keys: keys, count: count, to: &writer, payload: payload, kernel: kernel)
    guard !writer.hasOverflown else { return }
    let bitBytes = Int(rest.bits + 7) / 8
    let bits = Scratch(byteCount: bitBytes + 8)
    es_difference_encode_rest(
      form, &table, elements, base, symbols, Int64(count), bits.address.assumingMemoryBound(to: UInt8.self), exponents)
    PlaneCoding.encode(exponents, count: Int(rest.far), to: &writer, payload: payload, kernel: kernel)
    writer.append(UnsafeRawBufferPointer(start: bits.address, count: bitBytes))
  }

  /// Differences that occur so often that entries of a dictionary save bits: the most frequent first. Weights that saw
  /// no gradient but weight decay have a handful, half of a real fine-tuned model.
  private static func frequentDifferences(
    _ elements: UnsafeRawPointer, base: UnsafeRawPointer, count: Int, form: es_difference_form
  ) -> [Int64] {
    let sampled = 512
    let stride = count / sampled | 1  // odd: not always the same columns
    var found = [Int64](repeating: 0, count: (count + stride - 1) / stride)
    // Below, symbols are exact as they are.
    let least = Int64(2) << Int64(form.fine) - 1
    let number = es_difference_sample(form, elements, base, Int64(count), Int64(stride), least, &found)
    found.removeSubrange(Int(number)...)
    found.sort()
    var frequent: [(difference: Int64, count: Int)] = []
    var start = 0
    for index in found.indices where index + 1 == found.count || found[index + 1] != found[index] {
      let count = index + 1 - start
      start = index + 1
      let bits = 63 - found[index].magnitude.leadingZeroBitCount - Int(form.fine)
      if count >= 5, count * bits >= 32 { frequent.append((found[index], count)) }
    }
    frequent.sort { ($0.count, $0.difference) > ($1.count, $1.difference) }
    return frequent.prefix(mostExact).map(\.difference)
  }

  /// Contexts of symbols: by the exponent of the base, or, where a dictionary is used, by its mantissa if that is shorter
  /// (what weight decay subtracts depends on it).
  private static func bestContexts(
    _ symbols: UnsafePointer<UInt8>, base: UnsafeRawPointer, count: Int, form: es_difference_form, exact: [Int64],
    keys: UnsafeMutablePointer<UInt8>, key: inout es_difference_key
  ) -> ContextCoding {
    let room = Scratch(byteCount: 65536 * 4)
    let counts = room.address.assumingMemoryBound(to: UInt32.self)
    func contexts(_ key: es_difference_key) -> ContextCoding {
      es_difference_keys(form, key, base, Int64(count), keys)
      es_entropy_count_pairs(keys, symbols, Int64(count), counts)
      return ContextCoding(counts: counts)
    }
    if !exact.isEmpty {
      let byMantissa = contexts(es_difference_key.mantissa)
      let byExponent = contexts(es_difference_key.exponent)
      guard byMantissa.bits < byExponent.bits else { return byExponent }
      key = es_difference_key.mantissa
      es_difference_keys(form, key, base, Int64(count), keys)
      return byMantissa
    }
    return contexts(es_difference_key.exponent)
  }

  static func decode(
    into elements: UnsafeMutableRawPointer, base: UnsafeRawPointer, count: Int, of type: ElementForm,
    from reader: inout CodedReader, kernel: es_entropy_kernel
  ) throws(Problem) {
    guard count > 0 else { return }
    let shift = Int(try reader.byte())
    guard type.isFloat, shift <= type.mantissa else { throw CodedReader.damaged("elements are shifted too far") }
    let form = type.differences(shift: shift)
    let head = try reader.byte()
    let key = head & 128 == 0 ? es_difference_key.exponent : es_difference_key.mantissa
    guard head & 127 <= mostExact else { throw CodedReader.damaged("too many exact differences") }
    var exact: [Int64] = []
    for _ in 0..<(head & 127) { exact.append(try reader.integer(Int64.self)) }
    var table = es_difference_make_symbols(form, exact, Int32(exact.count))
    let contexts = try ContextCoding(from: &reader)
    guard contexts.lastSymbol < Int(table.limit) + 2 + exact.count else {
      throw CodedReader.damaged("a symbol means nothing")
    }
    let room = Scratch(byteCount: roomSize(count))
    let symbols = room.address.assumingMemoryBound(to: UInt8.self)
    let keys = symbols + count
    if contexts.starts.count > 1 { es_difference_keys(form, key, base, Int64(count), keys) }
    try contexts.decode(into: symbols, keys: keys, count: count, from: &reader, kernel: kernel)
    let rest = es_difference_measure_rest(form, &table, symbols, Int64(count))
    let farCount = Int(rest.far)
    let exponents = keys + count
    try ElementPlanes.decode(plane: exponents, count: farCount, from: &reader, kernel: kernel)
    let coded = try reader.take(Int(rest.bits + 7) / 8)
    // They are read a little past their end.
    let bits = Scratch(byteCount: coded.count + 8)
    if let address = coded.baseAddress { bits.address.copyMemory(from: address, byteCount: coded.count) }
    es_difference_decode(
      form, &table, base, symbols, Int64(count), bits.address.assumingMemoryBound(to: UInt8.self), exponents, elements)
  }
}
