/// A string compared and hashed by its bytes.
///
/// Swift's `String` compares by canonical equivalence: a precomposed `é` equals `e` with a combining accent.
/// In vocabularies, tensor names and JSON keys these are different things, so dictionaries over them use this key.
public struct ExactString: Sendable, Hashable, ExpressibleByStringLiteral, CustomStringConvertible {
  public let text: String

  public init(_ text: String) { self.text = text }
  public init(stringLiteral value: String) { text = value }
  public var description: String { text }

  public static func == (a: ExactString, b: ExactString) -> Bool {
    a.text.utf8.count == b.text.utf8.count && a.text.utf8.elementsEqual(b.text.utf8)
  }

  public func hash(into hasher: inout Hasher) {
    var text = text
    text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
  }
}
