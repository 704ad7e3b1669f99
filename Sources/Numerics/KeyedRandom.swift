import CKernels

/// Random numbers that are keyed, not drawn in order: the value of element `i` depends on the seed, the name, the
/// stream and `i` alone, so tiles, threads and resumed runs agree.
///
/// The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC 2011, doi:10.1145/2063384.2063405) with counter
/// `(i / 4 low, i / 4 high, stream, 0)`; its key is a fixed hash of seed and name (FNV-1a, finished by SplitMix64).
/// The same bits on every machine. Element numbers are not negative.
public struct KeyedRandom: Sendable {
  private let stream: es_random_stream

  /// - Parameters:
  ///   - seed: chosen by the user, or the default of the method.
  ///   - name: what the numbers are for, usually a tensor's name.
  ///   - stream: tells apart uses under one name (the models of a merge, say).
  public init(seed: UInt64, name: String, stream: UInt32 = 0) {
    let key = Self.hash(seed: seed, name: name)
    self.stream = es_random_stream(
      key: (UInt32(truncatingIfNeeded: key), UInt32(truncatingIfNeeded: key >> 32)), stream: stream)
  }

  /// The 32-bit words of elements `index ..< index + count`.
  public func words(startingAt index: Int, into words: UnsafeMutablePointer<UInt32>, count: Int) {
    es_random_words(stream, UInt64(index), words, Int64(count))
  }

  /// Uniform in [0, 1), multiples of 2^-24: the upper 24 bits of the words.
  public func uniforms(startingAt index: Int, into values: UnsafeMutablePointer<Float>, count: Int) {
    es_random_uniforms(stream, UInt64(index), values, Int64(count))
  }

  /// Standard normal deviates by the Box-Muller transform of the words of elements `2j` and `2j + 1`.
  public func normals(startingAt index: Int, into values: UnsafeMutablePointer<Float>, count: Int) {
    es_random_normals(stream, UInt64(index), values, Int64(count))
  }

  /// Keeps each value with one probability, else sets it to 0: kept iff word < ceil(probability * 2^32).
  ///
  /// - Parameters:
  ///   - index: the element number of `values[0]`.
  ///   - probability: from 0 (keeps nothing) to 1 (keeps all); what lies outside is taken as the nearer end, NaN as 0.
  public func keep(_ values: UnsafeMutablePointer<Float>, startingAt index: Int, count: Int, probability: Double) {
    es_random_keep(stream, UInt64(index), values, Int64(count), Self.threshold(probability))
  }

  /// Keeps each value with a probability of its own, else sets it to 0; the same decision as
  /// ``keep(_:startingAt:count:probability:)`` makes for that probability.
  ///
  /// - Parameter rescale: whether what is kept is divided by its probability.
  public func keep(
    _ values: UnsafeMutablePointer<Float>, startingAt index: Int, count: Int,
    probabilities: UnsafePointer<Float>, rescale: Bool
  ) {
    es_random_keep_each(stream, UInt64(index), values, probabilities, Int64(count), rescale)
  }

  /// Keeps each value of a row with a probability that grows with its rank by magnitude (0 for the smallest, equal ones
  /// by index), else sets it to 0.
  ///
  /// - Parameters:
  ///   - lowest: the probability of rank 0.
  ///   - slope: what each further rank adds; not negative.
  ///   - rescale: whether what is kept is divided by its probability.
  ///   - scratch: room for `10 * count` floats, 8-byte aligned.
  public func keepByRank(
    _ values: UnsafeMutablePointer<Float>, startingAt index: Int, count: Int, lowest: Float, slope: Float,
    rescale: Bool, scratch: UnsafeMutablePointer<Float>
  ) {
    es_random_keep_by_rank(
      stream, UInt64(index), values, Int64(count), lowest, slope, rescale,
      UnsafeMutableRawPointer(scratch).assumingMemoryBound(to: UInt64.self))
  }

  /// How many of the 2^32 words keep an element.
  static func threshold(_ probability: Double) -> UInt64 {
    guard probability > 0 else { return 0 }
    return UInt64((min(probability, 1) * 0x1p32).rounded(.up))
  }

  /// FNV-1a (64 bits) over the seed, lowest byte first, and the name's UTF-8 bytes; SplitMix64's finisher spreads it.
  static func hash(seed: UInt64, name: String) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    func absorb(_ byte: UInt8) { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    for shift in stride(from: UInt64(0), to: 64, by: 8) { absorb(UInt8(truncatingIfNeeded: seed >> shift)) }
    for byte in name.utf8 { absorb(byte) }
    hash = (hash ^ hash >> 30) &* 0xbf58_476d_1ce4_e5b9
    hash = (hash ^ hash >> 27) &* 0x94d0_49bb_1331_11eb
    return hash ^ hash >> 31
  }
}
