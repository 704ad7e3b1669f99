/// Edits that look at one scalar at a time.
enum ScalarEdits {
  enum Edit {
    case keep
    case drop
    case become(UInt32)
    /// Stands between two spaces.
    case isolate
  }

  /// Edits every scalar; a text in which nothing changes is left as it is.
  @inline(__always)
  static func apply(to text: inout AlignedText, _ edit: (UInt32) -> Edit) {
    var result: TextEdit?
    let old = text
    old.withBytes { bytes in
      var position = 0
      while position < bytes.count {
        let (scalar, length) = UTF8Reading.scalar(bytes, at: position)
        let change = edit(scalar)
        if case .keep = change {
          position += length
          continue
        }
        if result == nil { result = TextEdit(old) }
        result?.copy(to: position)
        switch change {
        case .keep: break
        case .drop: result?.drop(to: position + length)
        case .become(let other): result?.write(other)
        case .isolate:
          result?.write(0x20)
          result?.write(scalar, change: 1)
          result?.write(0x20, change: 1)
        }
        position += length
      }
    }
    guard var result else { return }
    result.copy(to: old.bytes.count)
    text = result.finished()
  }
}
