/// Rows of text in aligned columns.
public struct TextTable {
  public enum Alignment: Sendable { case left, right }

  private var titles: [String] = []
  private var alignments: [Alignment] = []
  private var columns: [[String]] = []

  public init() {}

  /// Adds a column with one cell a row; all columns have as many.
  public mutating func add(_ title: String, align alignment: Alignment = .right, _ cells: [String]) {
    titles.append(title)
    alignments.append(alignment)
    columns.append(cells)
  }

  /// A line of titles, then a line a row, columns two spaces apart.
  public var lines: [String] {
    let widths = zip(titles, columns).map { title, cells in cells.reduce(title.count) { max($0, $1.count) } }
    let rows = (0..<(columns.map(\.count).min() ?? 0)).map { row in columns.map { $0[row] } }
    return ([titles] + rows).map { cells in
      let padded = zip(zip(cells, widths), alignments).map { cell, alignment in
        Self.pad(cell.0, to: cell.1, alignment)
      }
      return trimmed(padded.joined(separator: "  "))
    }
  }

  private static func pad(_ text: String, to width: Int, _ alignment: Alignment) -> String {
    let space = String(repeating: " ", count: max(0, width - text.count))
    return alignment == .left ? text + space : space + text
  }

  private func trimmed(_ line: String) -> String {
    String(line.reversed().drop { $0 == " " }.reversed())
  }
}
