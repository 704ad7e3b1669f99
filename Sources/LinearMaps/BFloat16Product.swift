internal import CKernels
internal import EspalierBasics
internal import EspalierNumerics

/// Activations rounded to bfloat16, in panels of a few rows. Cost: 2 bytes a number.
struct RoundedActivations: ~Copyable {
  private let memory: Scratch
  let rows: Int

  static let rowsOfPanel = Int(ES_LINEAR_PANEL_ROWS)
  /// Whether this processor multiplies pairs of bfloat16.
  static let areMultiplied = es_linear_bf16_runs()

  init(_ x: MatrixView<Float>, parallel: MatrixProduct.ParallelLoop) throws(Problem) {
    rows = x.rows
    let size = es_linear_panel_size(x.columns)
    let panelCount = (rows + Self.rowsOfPanel - 1) / Self.rowsOfPanel
    memory = Scratch(byteCount: panelCount * size * MemoryLayout<UInt16>.stride)
    guard let elements = x.elements else { return }
    let (panels, rows) = (panels, rows)
    // Four panels are some microseconds' work.
    let panelsOfTile = 4
    try parallel((panelCount + panelsOfTile - 1) / panelsOfTile) { (index) throws(Problem) in
      for panel in index * panelsOfTile..<min((index + 1) * panelsOfTile, panelCount) {
        let row = panel * Self.rowsOfPanel
        es_linear_pack_bf16(
          elements + row * x.stride, x.stride, min(Self.rowsOfPanel, rows - row), x.columns, panels + panel * size)
      }
    }
  }

  var panels: UnsafeMutablePointer<UInt16> { memory.address.assumingMemoryBound(to: UInt16.self) }
}

/// `y = x Wᵀ` in bfloat16 for many rows of x: W is widened and rounded while it is packed, whatever its form.
struct BFloat16Product: TiledProduct {
  private let panels: UnsafePointer<UInt16>
  private let panelSize: Int
  private let matrix: StoredRows
  private let target: UnsafeMutablePointer<Float>
  private let targetStride: Int
  private let tokens: Int
  /// Of y: packing a row of W pays when many tokens meet it.
  private var tileRows = 528
  private var tileColumns = 64

  /// Nil if y has no elements.
  init?(
    _ activations: borrowing RoundedActivations, _ matrix: StoredRows, into y: MutableMatrixView<Float>
  ) {
    guard let target = y.elements else { return nil }
    panels = UnsafePointer(activations.panels)
    panelSize = es_linear_panel_size(matrix.columns)
    self.matrix = matrix
    self.target = target
    targetStride = y.stride
    tokens = activations.rows
    // By shape alone, enough to share.
    let enough = 16
    if tileCount < enough { tileColumns /= 2 }
    while tileCount < enough, tileRows > 132 { tileRows /= 2 }
  }

  private var tilesAcross: Int { (matrix.rows + tileColumns - 1) / tileColumns }
  var tileCount: Int { (tokens + tileRows - 1) / tileRows * tilesAcross }

  func run(tile index: Int) {
    let token = index / tilesAcross * tileRows
    let row = index % tilesAcross * tileColumns
    es_linear_multiply_bf16(
      panels + token / RoundedActivations.rowsOfPanel * panelSize, min(tileRows, tokens - token), matrix.address,
      matrix.stride, matrix.widening, row, min(tileColumns, matrix.rows - row), matrix.columns,
      target + token * targetStride + row, targetStride)
  }
}
