public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNetworks

/// What a calibration will do and what memory it takes, from headers alone.
///
/// Memory never changes a result, only how often a block runs and where activations lie.
public struct CalibrationPlan: Sendable {
  public struct Block: Sendable {
    public let block: NetworkBlock
    /// The block runs once for each, gathering the statistics of these sites; once at least.
    public let passes: [[InputSite]]
  }

  public let blocks: [Block]
  public let momentLimit: Int
  public let tokenCount: Int
  /// Whether what goes from block to block lies in a file.
  public let spills: Bool
  /// Bytes that go from block to block.
  public let activationBytes: Int
  /// Bytes of the statistics of the largest pass.
  public let statisticsBytes: Int
  /// Bytes of the weights of the largest block.
  public let weightBytes: Int
  /// Bytes of activations inside a block.
  public let groupBytes: Int

  /// What a process needs beside all of that: the program, the tokenizer, tokens.
  public static let workingBytes = 96 << 20

  /// The most of a block's statistics with the larger of its weights, which gather them, and what the caller does with
  /// them when they are gathered.
  private let blockBytes: Int

  /// What reading the weights takes for itself, if they are packed.
  private let readingBytes: Int

  public var peakBytes: Int {
    Self.workingBytes + readingBytes + groupBytes + blockBytes + (spills ? 0 : activationBytes)
  }

  public var sites: [InputSite] { blocks.flatMap(\.block.sites) }

  /// - Parameters:
  ///   - lengths: tokens of each text.
  ///   - memory: the ceiling on resident memory in bytes.
  ///   - beside: what the caller takes for itself, block by block, once the statistics are gathered and the block's weights
  ///     are let go; nothing if it is empty.
  ///   - reading: what reading the weights takes for itself.
  ///   - momentLimit: as ``MomentShape/init(width:limit:)``.
  /// - Throws: `memory.ceiling` if not even one site fits, naming it and the least that would do.
  public init(
    _ network: Network, lengths: [Int], memory: Int, beside: [Int] = [], reading: Int = 0, momentLimit: Int
  ) throws(Problem) {
    let all = try network.blocks()
    func bytes(_ site: InputSite) -> Int {
      SiteAccumulator.byteCount(width: site.width, momentLimit: momentLimit)
    }
    self.momentLimit = momentLimit
    readingBytes = reading
    tokenCount = lengths.reduce(0, +)
    activationBytes = tokenCount * network.carriedBytesPerToken
    weightBytes = all.reduce(0) { max($0, $1.weightBytes) }
    groupBytes = network.groupBytes(longest: lengths.max() ?? 0)
    let free = memory - Self.workingBytes - reading - groupBytes
    let others = all.enumerated().map { max($1.weightBytes, beside.indices.contains($0) ? beside[$0] : 0) }
    let whole = zip(all, others).reduce(0) { most, block in
      max(most, block.0.sites.reduce(block.1) { $0 + bytes($1) })
    }
    spills = activationBytes > free - whole
    var (largest, largestOfAll) = (0, 0)
    var planned: [Block] = []
    for (block, other) in zip(all, others) {
      let left = free - other
      largestOfAll = max(largestOfAll, other)
      var passes: [[InputSite]] = [[]]
      var used = 0
      for site in block.sites {
        let needed = bytes(site)
        guard needed <= left else {
          throw Problem(
            .memoryCeiling,
            "the statistics of \(site.name) take \(ByteCount.text(needed)) and the ceiling leaves "
              + "\(ByteCount.text(max(0, left)))",
            remedy: "Raise --memory to \(ByteCount.text(memory - left + needed)) at least"
              + (momentLimit < MomentShape.noLimit ? ", or keep less with --moment-width." : "."))
        }
        if used + needed > left {
          passes.append([])
          used = 0
        }
        passes[passes.count - 1].append(site)
        used += needed
        largest = max(largest, used)
        largestOfAll = max(largestOfAll, used + other)
      }
      planned.append(Block(block: block, passes: passes))
    }
    blocks = planned
    (statisticsBytes, blockBytes) = (largest, largestOfAll)
  }

  /// The file that will be written.
  public func layout(_ record: StatisticsRecord) -> StatisticsLayout {
    StatisticsLayout(
      record: record,
      sites: sites.map {
        StatisticsLayout.Site(
          name: $0.name, width: $0.width, moment: MomentShape(width: $0.width, limit: momentLimit))
      }, blocks: blocks.map(\.block.name))
  }

  /// In words, a line each.
  public func text(_ record: StatisticsRecord) -> String {
    let size = ByteCount.text
    let passes = blocks.reduce(0) { $0 + $1.passes.count }
    var lines = [
      "\(tokenCount) tokens: \(record.cut)",
      "\(sites.count) sites in \(blocks.count) blocks, the file takes \(size(layout(record).byteCount))",
      momentLimit == 0
        ? "second moments are not kept"
        : "second moments whole up to \(momentLimit) columns, in squares along the diagonal beyond",
      "activations of \(size(activationBytes)) between blocks, " + (spills ? "in a temporary file" : "in memory"),
    ]
    if passes > blocks.count {
      lines.append("\(passes - blocks.count) blocks run once more, since their statistics do not fit together")
    }
    lines.append(
      "memory at most \(size(peakBytes)): weights \(size(weightBytes)), inside a block \(size(groupBytes)), statistics "
        + "\(size(statisticsBytes))" + (spills ? "" : ", activations \(size(activationBytes))"))
    return lines.joined(separator: "\n")
  }
}
