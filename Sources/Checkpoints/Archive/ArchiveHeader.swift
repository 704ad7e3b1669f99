public import EspalierBasics
public import EspalierNumerics

extension Problem.Code {
  public static let archiveFormat = Problem.Code("archive.format")
  public static let archiveDamaged = Problem.Code("archive.damaged")
  public static let archiveBase = Problem.Code("archive.base")
}

/// What a packed file says of the file that it stands for (`Docs/format-packed.md`).
///
/// To other programs it is a safetensors file whose tensors are bytes: the header's digest first, then a tensor for each
/// part that is stored.
public struct ArchiveHeader: Sendable {
  /// A run of the file's bytes that are coded as one type: a tensor, what stands before the tensors, a gap.
  public struct Part: Sendable, Hashable {
    public enum Content: Sendable, Hashable {
      /// Coded chunks behind the table of their records.
      case stored
      /// The bytes of an earlier part.
      case same(as: Int)
    }

    public var name: String
    public var type: ElementType
    /// Of the file, at most 2^48.
    public var byteCount: Int
    public var content = Content.stored
    /// Where as many bytes of the same type lie in a file of the base.
    public var base: Place?

    public init(name: String, type: ElementType, byteCount: Int, base: Place? = nil) {
      (self.name, self.type, self.byteCount, self.base) = (name, type, byteCount, base)
    }

    public func chunkCount(of chunkBytes: Int) -> Int { (byteCount + chunkBytes - 1) / chunkBytes }
  }

  /// A place in a file of the base.
  public struct Place: Sendable, Hashable {
    public var file: Int
    public var offset: Int

    public init(file: Int, offset: Int) { (self.file, self.offset) = (file, offset) }
  }

  /// A file of the base.
  public struct BaseFile: Sendable, Hashable {
    /// As it was given, from the folder of the packed file if it is relative.
    public var path: String
    public var byteCount: Int

    public init(path: String, byteCount: Int) { (self.path, self.byteCount) = (path, byteCount) }
  }

  public var byteCount: Int
  /// Of every chunk but the last of a part.
  public var chunkBytes: Int
  public var parts: [Part]
  public var base: [BaseFile] = []
  /// Of the whole file, in hexadecimal digits, if it was asked for.
  public var sha256: String?
  /// What the file lost before it was packed; nil: nothing.
  public var loss: ArchiveLoss?

  public init(byteCount: Int, chunkBytes: Int, parts: [Part]) {
    (self.byteCount, self.chunkBytes, self.parts) = (byteCount, chunkBytes, parts)
  }

  /// Where parts begin in the file.
  var starts: [Int] {
    var next = 0
    return parts.map { part in
      defer { next += part.byteCount }
      return next
    }
  }

  /// 2 for a file that lost something, which earlier readers do not know; else 1.
  public static let formatVersion = 2
  static let key = "espalier_archive"
  /// The digest of all before it, the first tensor.
  static let checkName = "espalier.check"
  static let checkBytes = 16
  public static let chunkSizes = 4096...(1 << 24)
  /// Of a file that is packed, and of a part.
  static let mostBytes = 1 << 48

  // MARK: - Written

  /// The header's bytes, spaces up to a length.
  ///
  /// - Parameters:
  ///   - lengths: of stored parts, in bytes of the packed file.
  ///   - reserved: nil for the least that will do.
  func bytes(lengths: [Int], reserved: Int?) -> [UInt8] {
    var entries: [(String, JSON)] = [("__metadata__", [Self.key: .string(description.text())])]
    var offset = 0
    func add(_ name: String, _ count: Int) {
      entries.append(
        (
          name,
          ["dtype": "U8", "shape": [.number(count)], "data_offsets": [.number(offset), .number(offset + count)]]
        ))
      offset += count
    }
    add(Self.checkName, Self.checkBytes)
    var lengths = lengths[...]
    for part in parts where part.content == .stored { add(part.name, lengths.popFirst() ?? 0) }
    var text = Array(JSON.object(entries).text().utf8)
    let length = reserved ?? (text.count + 7) / 8 * 8
    text += [UInt8](repeating: UInt8(ascii: " "), count: max(0, length - text.count))
    return (0..<8).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) } + text
  }

  private var description: JSON {
    var json: JSON = [
      "version": .number(loss == nil ? 1 : Self.formatVersion), "bytes": .number(byteCount),
      "chunk": .number(chunkBytes),
      "parts": .array(
        parts.map { part in
          var words: [JSON] = [.string(part.type.rawValue), .number(part.byteCount)]
          if case .same(let other) = part.content { words += ["same", .number(other)] }
          if let base = part.base { words += ["base", .number(base.file), .number(base.offset)] }
          return .array(words)
        }),
    ]
    if !base.isEmpty {
      json["base"] = .array(base.map { ["path": .string($0.path), "bytes": .number($0.byteCount)] })
    }
    if let sha256 { json["sha256"] = .string(sha256) }
    if let loss { json["lossy"] = loss.json }
    return json
  }
}

extension Digest {
  /// Low word first, each with its lowest byte first.
  var bytes: [UInt8] { [low, high].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } } }
}
