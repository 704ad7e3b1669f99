public import EspalierBasics
internal import EspalierNumerics

/// A file of statistics, read site by site.
public struct StatisticsFile: Sendable {
  public struct Block: Sendable, Hashable {
    public var name: String
    /// Rows that went through it; 0 for what is no layer.
    public var rows: Int
    /// The mean cosine between what enters it and what leaves it; nil for what is no layer.
    public var similarity: Double?
  }

  public let path: String
  public let layout: StatisticsLayout
  public let blocks: [Block]
  private let file: File
  private let tensors: [ExactString: StoredTensor]
  private let places: [ExactString: Int]

  public var record: StatisticsRecord { layout.record }
  public var sites: [String] { layout.sites.map(\.name) }

  static func header(_ path: String) throws(Problem) -> SafetensorsHeader {
    let header = try SafetensorsHeader(reading: try File.reading(path))
    do throws(Problem) { _ = try StatisticsRecord(metadata: header.metadata) } catch { throw error.at(file: path) }
    return header
  }

  /// Reads the header and checks that everything is there.
  ///
  /// - Throws: `statistics.format` and what reading safetensors files throws.
  public init(at path: String) throws(Problem) {
    self.path = path
    let file = try File.reading(path)
    self.file = file
    do throws(Problem) {
      let header = try SafetensorsHeader(reading: file)
      let record = try StatisticsRecord(metadata: header.metadata)
      let tensors = Dictionary(
        header.tensors.map { (ExactString($0.name), $0) }, uniquingKeysWith: { first, _ in first })
      let list = header.metadata.first { $0.key == "blocks" }.flatMap { try? JSON(parsing: Array($0.value.utf8)) }
      let names = list?.array?.compactMap(\.string) ?? []
      layout = StatisticsLayout(record: record, sites: try Self.sites(header.tensors, tensors), blocks: names)
      places = Dictionary(
        layout.sites.enumerated().map { (ExactString($1.name), $0) }, uniquingKeysWith: { first, _ in first })
      self.tensors = tensors
      func doubles(_ name: String, _ shape: [Int]) throws(Problem) -> [Double] {
        guard let tensor = tensors[ExactString(name)], tensor.elementType == .f64, tensor.shape == shape else {
          throw Problem(.statisticsFormat, "there is no float64 tensor of the shape \(shape)", tensor: name)
        }
        return try Self.read(tensor, file)
      }
      let finished = try doubles("blocks.finished", [names.count])
      if let first = finished.firstIndex(where: { $0 != 1 }) {
        throw Problem(
          .statisticsFormat, "the file is unfinished: the block \(names[first]) is missing",
          remedy: "Let `espalier calibrate --resume` finish it.")
      }
      let similarity = try doubles("blocks.similarity", [names.count, 2])
      var blocks: [Block] = []
      for index in names.indices {
        let (rows, sum) = (similarity[2 * index], similarity[2 * index + 1])
        guard let rows = Int(exactly: rows), rows >= 0, sum.isFinite else {
          throw Problem(.statisticsFormat, "\(rows) rows cannot be", tensor: "blocks.similarity")
        }
        blocks.append(Block(name: names[index], rows: rows, similarity: rows > 0 ? sum / Double(rows) : nil))
      }
      self.blocks = blocks
    } catch { throw error.at(file: path) }
  }

  /// The sites whose tensors there are, each complete and of fitting shapes.
  private static func sites(
    _ all: [StoredTensor], _ tensors: [ExactString: StoredTensor]
  ) throws(Problem) -> [StatisticsLayout.Site] {
    var sites: [StatisticsLayout.Site] = []
    var used = 2
    for tensor in all where tensor.name.utf8.suffix(6).elementsEqual(".count".utf8) {
      let name = String(tensor.name.dropLast(6))
      func find(_ part: String, _ shape: [Int]?) throws(Problem) -> StoredTensor? {
        guard let tensor = tensors[ExactString("\(name).\(part)")] else { return nil }
        used += 1
        guard tensor.elementType == .f64, shape.map({ $0 == tensor.shape }) ?? true else {
          throw Problem(
            .statisticsFormat,
            "\(tensor.elementType) of the shape \(tensor.shape) where float64 of \(shape ?? []) belongs",
            tensor: tensor.name)
        }
        return tensor
      }
      guard try find("count", [1]) != nil, let squares = try find("square_sum", nil), squares.shape.count == 1 else {
        throw Problem(.statisticsFormat, "the sum of squares is missing", tensor: "\(name).square_sum")
      }
      let width = squares.shape[0]
      let hasSums = try find("sum", [width]) != nil
      guard try (find("absolute_sum", [width]) != nil) == hasSums else {
        throw Problem(.statisticsFormat, "the sum or the sum of magnitudes is missing", tensor: "\(name).sum")
      }
      var matrices: [SecondMoment] = []
      var covered = 0
      if try find("moment", [width, width]) != nil {
        matrices = [.full(try Matrix(rows: 0, columns: 0, elements: []))]
        covered = width
      } else {
        while let block = try find("moment.\(matrices.count)", nil) {
          guard block.shape.count == 2, block.shape[0] == block.shape[1], block.shape[0] > 0 else {
            throw Problem(.statisticsFormat, "the shape \(block.shape) is no square", tensor: block.name)
          }
          matrices.append(.blocks([]))
          covered += block.shape[0]
        }
      }
      let shape = MomentShape(width: width, blocks: matrices.count)
      guard matrices.isEmpty || covered == width,
        shape.blocks.enumerated().allSatisfy({ index, block in
          matrices.count == 1 || tensors[ExactString("\(name).moment.\(index)")]?.shape == [block.count, block.count]
        })
      else {
        throw Problem(
          .statisticsFormat, "the squares along the diagonal do not cover \(width) columns", tensor: "\(name).moment.0")
      }
      sites.append(StatisticsLayout.Site(name: name, width: width, moment: shape, hasSums: hasSums))
    }
    guard used == all.count else {
      throw Problem(.statisticsFormat, "\(all.count - used) tensors belong to no site")
    }
    return sites
  }

  private static func read(_ tensor: StoredTensor, _ file: File) throws(Problem) -> [Double] {
    let count = tensor.byteCount / 8
    let buffer = try AlignedBuffer(byteCount: tensor.byteCount)
    try file.read(into: buffer.bytes, at: tensor.offset)
    return Array(buffer.values(of: Double.self)[..<count])
  }

  /// The statistics of a site; nil if there are none. Sums that were not gathered (a file of another program) are NaN,
  /// so that what is computed from them shows.
  ///
  /// - Parameter moment: whether the second moment is wanted too.
  /// - Throws: `statistics.format` for numbers that cannot be.
  public func statistics(of site: String, moment: Bool = true) throws(Problem) -> SiteStatistics? {
    guard let place = places[ExactString(site)] else { return nil }
    let known = layout.sites[place]
    func values(_ part: String) throws(Problem) -> [Double] {
      guard let tensor = tensors[ExactString("\(site).\(part)")] else {
        return [Double](repeating: .nan, count: known.width)
      }
      do throws(Problem) {
        let values = try Self.read(tensor, file)
        guard values.allSatisfy(\.isFinite) else { throw Problem(.statisticsFormat, "there is a NaN or an infinity") }
        return values
      } catch { throw error.at(file: path, tensor: tensor.name) }
    }
    var statistics = SiteStatistics(width: known.width)
    let count = try values("count")[0]
    guard let rows = Int(exactly: count), rows >= 0 else {
      throw Problem(.statisticsFormat, "\(count) rows cannot be", file: path, tensor: "\(site).count")
    }
    statistics.count = rows
    statistics.sums = try values("sum")
    statistics.squareSums = try values("square_sum")
    statistics.absoluteSums = try values("absolute_sum")
    guard statistics.squareSums.allSatisfy({ $0 >= 0 }) else {
      throw Problem(.statisticsFormat, "a sum of squares is negative", file: path, tensor: "\(site).square_sum")
    }
    guard moment, let first = known.moment.blocks.first else { return statistics }
    if known.moment.blocks.count == 1 {
      statistics.moment = .full(
        try Matrix(rows: first.count, columns: first.count, elements: try values("moment")))
    } else {
      var matrices: [Matrix<Double>] = []
      for (index, block) in known.moment.blocks.enumerated() {
        matrices.append(
          try Matrix(rows: block.count, columns: block.count, elements: try values("moment.\(index)")))
      }
      statistics.moment = .blocks(matrices)
    }
    return statistics
  }

  /// Makes sure that the statistics are of a model.
  ///
  /// - Throws: `statistics.mismatch`, naming what differs.
  public func require(_ model: ModelIdentity) throws(Problem) {
    guard let own = record.model, let difference = own.difference(from: model) else { return }
    throw Problem(
      .statisticsMismatch, "the statistics are of another model: it has other \(difference)",
      remedy: "Calibrate this model, or give the one that the statistics were taken of.", file: path)
  }
}
