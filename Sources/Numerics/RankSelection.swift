public import EspalierBasics
import Synchronization

extension Problem.Code {
  /// Passes over one tensor brought different elements.
  public static let passesDisagree = Problem.Code("numerics.passes-disagree")
}

/// One ranking to be cut: keep the first `count` elements of a channel in an order.
public struct RankRequest: Sendable, Hashable {
  /// Which of the streams of data that are scanned side by side (the models of a merge, say).
  public var channel: Int
  /// How many elements are kept; none if not positive, all if there are no more.
  public var count: Int
  public var order: RankOrder

  public init(channel: Int = 0, count: Int, order: RankOrder = .largestMagnitude) {
    self.channel = channel
    self.count = count
    self.order = order
  }
}

/// Finds exact cuts of rankings of tensors that are only ever seen block by block, in passes over the data.
///
/// ```swift
/// let selector = RankSelector(count: elements, requests: [RankRequest(count: kept)])
/// for block in selector.sampleBlocks { selector.addSample(channel: 0, values: values(of: block)) }
/// while !selector.isFinished {
///   try selector.beginPass()
///   for block in blocks { selector.scan(block: block, channel: 0, values: values(of: block)) }
///   try selector.endPass()
/// }
/// selector.cut(of: 0).apply(to: ...)
/// ```
///
/// A sample brackets each cut; a pass counts what lies above the bracket and collects what lies inside; the cut is
/// found among the collected keys. Without a sample, or where it misled, brackets narrow by histograms. Usually one
/// pass, never more than six, whatever the data. Results depend on the data alone, not on the sample, the order of
/// scanning or the threads.
///
/// Memory: ``memoryBound(count:requests:)``.
public final class RankSelector: Sendable {
  /// Elements of a block; the last block may be shorter.
  public static let blockLength = CanonicalSum.blockLength

  /// Up to this many elements all keys are collected and no sample is wanted.
  private static let collectedWhole = 1 << 18
  /// Sampled values of a channel.
  private static let sampleSize = 1 << 16

  /// The blocks to give to ``addSample(channel:values:)``, spread over the tensor; none if it is small. A sample is
  /// not required; it saves passes.
  public let sampleBlocks: [Int]

  private let count: Int
  private let searches: [RankSearch]
  private let searchesOfChannel: [Int: [RankSearch]]
  private let samples = Mutex<[Int: RankSample]>([:])

  /// - Parameters:
  ///   - count: elements of the tensor, in every channel.
  ///   - requests: any number for each channel; those of one channel share its scanning.
  public init(count: Int, requests: [RankRequest]) {
    self.count = count
    searches = requests.map {
      RankSearch(rank: $0.count, of: count, order: $0.order, capacity: Self.capacity(count))
    }
    searchesOfChannel = Dictionary(grouping: zip(requests, searches)) { $0.0.channel }.mapValues { $0.map(\.1) }
    sampleBlocks = count > Self.collectedWhole ? Self.spread(over: CanonicalSum.blocks(of: count).count) : []
  }

  /// The bytes that are resident at most: per request the keys of max(2^18, count / 32) elements, 64 bytes a block,
  /// a histogram and a sample. Independent of the threads.
  public static func memoryBound(count: Int, requests: Int) -> Int {
    let blocks = (count + blockLength - 1) / blockLength
    return requests * (4 * capacity(count) + 64 * blocks + 65536 + 16 * sampleSize)
  }

  private static func capacity(_ count: Int) -> Int { max(collectedWhole, count / 32) }

  /// 16 to 256 blocks, one at a pseudo-random place in each of as many equal stretches.
  private static func spread(over blocks: Int) -> [Int] {
    let stretches = min(max(blocks / 32, 16), 256)
    return (0..<stretches).map { stretch in
      let start = stretch * blocks / stretches
      let end = (stretch + 1) * blocks / stretches
      // Multiples of the golden ratio, in units of 2^-16.
      let fraction = stretch * 40503 % 65536
      return start + (end - start) * fraction / 65536
    }
  }

  /// Takes the elements of one of the ``sampleBlocks``, before the first pass; callable concurrently.
  public func addSample(channel: Int, values: UnsafeBufferPointer<Float>) {
    let stride = max(1, sampleBlocks.count * Self.blockLength / Self.sampleSize)
    samples.withLock { $0[channel, default: RankSample()].add(values, stride: stride) }
  }

  /// Whether all cuts are found.
  public var isFinished: Bool { searches.allSatisfy { $0.cut != nil } }

  /// - Throws: `memory.allocation`.
  public func beginPass() throws(Problem) {
    useSamples()
    for search in searches where search.cut == nil { try search.beginPass() }
  }

  private func useSamples() {
    let samples = samples.withLock { samples in
      defer { samples = [:] }
      return samples
    }
    for (channel, sample) in samples {
      for search in searchesOfChannel[channel] ?? [] where search.cut == nil { search.estimate(from: sample) }
    }
  }

  /// Takes one block of a channel; callable concurrently, in any order. A pass brings every block of every channel
  /// that ``needs(channel:)`` it once.
  public func scan(block: Int, channel: Int, values: UnsafeBufferPointer<Float>) {
    for search in searchesOfChannel[channel] ?? [] { search.scan(block: block, values: values) }
  }

  /// Whether a cut of this channel is still to be found.
  public func needs(channel: Int) -> Bool { searchesOfChannel[channel]?.contains { $0.cut == nil } ?? false }

  /// Ends a pass.
  ///
  /// - Returns: whether all cuts are found.
  /// - Throws: `numerics.passes-disagree` if the pass did not bring all elements, or not those of the passes before.
  @discardableResult public func endPass() throws(Problem) -> Bool {
    for search in searches where search.cut == nil { try search.endPass() }
    return isFinished
  }

  /// The cut of a request, by its index; that which keeps nothing as long as ``isFinished`` is false.
  public func cut(of request: Int) -> RankCut {
    searches[request].cut ?? .none(.largestMagnitude)
  }
}

extension RankCut {
  /// The cut that keeps the first `count` elements of values in memory; their blocks are those of
  /// ``CanonicalSum/blocks(of:)``.
  ///
  /// - Throws: `memory.allocation`.
  public static func keeping(
    _ count: Int, of values: UnsafeBufferPointer<Float>, order: RankOrder
  ) throws(Problem) -> RankCut {
    let selector = RankSelector(count: values.count, requests: [RankRequest(count: count, order: order)])
    let blocks = CanonicalSum.blocks(of: values.count).map { UnsafeBufferPointer(rebasing: values[$0]) }
    for block in selector.sampleBlocks { selector.addSample(channel: 0, values: blocks[block]) }
    while !selector.isFinished {
      try selector.beginPass()
      for (index, block) in blocks.enumerated() { selector.scan(block: index, channel: 0, values: block) }
      try selector.endPass()
    }
    return selector.cut(of: 0)
  }
}
