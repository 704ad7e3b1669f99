internal import EspalierBasics
internal import EspalierNumerics

/// What is in a file of statistics, and where: known before the first number is.
///
/// For every site, in the order of the sites: `SITE.count` `[1]`, `.sum`, `.square_sum`, `.absolute_sum` `[width]`,
/// `.moment` `[width, width]` or, of squares along the diagonal, `.moment.0`, `.moment.1` ...; then `blocks.similarity`
/// `[blocks, 2]` (rows, sum of cosines) and `blocks.finished` `[blocks]`. All float64.
public struct StatisticsLayout: Sendable {
  public struct Site: Sendable, Hashable {
    public var name: String
    public var width: Int
    public var moment: MomentShape
    /// Whether sums of x and |x| are known, and not only those of x².
    public var hasSums: Bool

    public init(name: String, width: Int, moment: MomentShape, hasSums: Bool = true) {
      self.name = name
      self.width = width
      self.moment = moment
      self.hasSums = hasSums
    }
  }

  public var record: StatisticsRecord
  public var sites: [Site]
  /// Names of the blocks.
  public var blocks: [String]

  public init(record: StatisticsRecord, sites: [Site], blocks: [String]) {
    self.record = record
    self.sites = sites
    self.blocks = blocks
  }

  private var tensors: [(name: String, elementType: ElementType, shape: [Int])] {
    var tensors: [(name: String, elementType: ElementType, shape: [Int])] = []
    for site in sites {
      tensors.append(("\(site.name).count", .f64, [1]))
      if site.hasSums { tensors.append(("\(site.name).sum", .f64, [site.width])) }
      tensors.append(("\(site.name).square_sum", .f64, [site.width]))
      if site.hasSums { tensors.append(("\(site.name).absolute_sum", .f64, [site.width])) }
      for (index, block) in site.moment.blocks.enumerated() {
        let name = site.moment.blocks.count == 1 ? "moment" : "moment.\(index)"
        tensors.append(("\(site.name).\(name)", .f64, [block.count, block.count]))
      }
    }
    tensors.append(("blocks.similarity", .f64, [blocks.count, 2]))
    tensors.append(("blocks.finished", .f64, [blocks.count]))
    return tensors
  }

  /// The bytes before the numbers.
  func header() -> [UInt8] {
    let names = JSON.array(blocks.map { .string($0) }).text()
    return SafetensorsHeader.bytes(for: tensors, metadata: record.metadata + [("blocks", names)])
  }

  /// First bytes of all tensors after the header, and of the end.
  func offsets() -> (of: [ExactString: Int], end: Int) {
    var offsets: [ExactString: Int] = [:]
    var end = 0
    for tensor in tensors {
      offsets[ExactString(tensor.name)] = end
      end += 8 * tensor.shape.reduce(1, *)
    }
    return (offsets, end)
  }

  /// Bytes of the file.
  public var byteCount: Int { header().count + offsets().end }
}
